"""Downloads symbol files that are missing; used with --online only, over urllib3."""

from __future__ import annotations
