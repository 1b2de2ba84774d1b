"""Code that a program makes while it runs: where it is, its unwind data, its names.

Finders know one runtime or interface each; strategies that walk such code are in
`unwind.strategies`.
"""

from __future__ import annotations
