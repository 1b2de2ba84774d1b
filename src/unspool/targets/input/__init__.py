"""The bytes of a file as they are, or what a compressed one unpacks to."""

from __future__ import annotations
