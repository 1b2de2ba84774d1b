"""Who waits for whom: locks, their holders, and the cycles of threads that are deadlocks.

`survey.survey` takes targets with their walked stacks and gives a `records.LockReport`.
"""

from __future__ import annotations
