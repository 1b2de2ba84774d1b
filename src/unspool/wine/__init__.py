"""What Wine keeps about a process's threads: TEB, PEB, system call frames.

Layouts are tables (`layouts`); everything read is checked before it is believed.
"""

from __future__ import annotations
