"""A minidump as a target: of Linux by Breakpad, Crashpad or unspool itself, and of Windows."""

from __future__ import annotations
