"""Can functions be replaced now? Ksplice's condition, by scanning stacks and by unwinding them."""

from __future__ import annotations

from unspool.analyses.patch.check import patch_check
from unspool.analyses.patch.records import Answer, Checked, CodeRange, Hit, PatchCheck

__all__ = ["Answer", "Checked", "CodeRange", "Hit", "PatchCheck", "patch_check"]
