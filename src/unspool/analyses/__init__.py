"""What stacks and memory tell beyond themselves: a package a question, listed in `registry`."""

from __future__ import annotations
