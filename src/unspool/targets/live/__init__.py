"""A running process as a target: held for as long as it takes to copy what a walk will read."""

from __future__ import annotations
