"""Ways to find a frame's caller, a module each; `order` has them, the surest first."""

from __future__ import annotations
