"""wineserver's own objects: what handles are of, what they are called, and who holds them.

`objects` reads what all of them have, `server` processes, threads and their waits, `find` gets
at the memory of a server, `clients` matches its threads with those of the targets.
"""

from __future__ import annotations
