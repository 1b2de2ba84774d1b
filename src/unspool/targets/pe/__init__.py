"""A process's PE modules: which there are, and their own files on this machine."""

from __future__ import annotations
