"""What can be looked at: cores, minidumps, running processes; each a `base.Target`.

They find threads, memory and modules, and never unwind.
"""

from __future__ import annotations
