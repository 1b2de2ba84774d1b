"""What a minidump is made of: every structure and field, and every byte, of the whole file."""

from __future__ import annotations

from unspool.analyses.anatomy.dissect import dissect
from unspool.analyses.anatomy.node import Anatomy, Node, Problem, StreamEntry
from unspool.analyses.anatomy.select import reach, select

__all__ = ["Anatomy", "Node", "Problem", "StreamEntry", "dissect", "reach", "select"]
