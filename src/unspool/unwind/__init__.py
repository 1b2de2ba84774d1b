"""Walks stacks: registers, memory and unwind tables to the caller's registers, frame by frame.

No names, and no files but through the address space. `step` and `walk` are the heart.
"""

from __future__ import annotations
