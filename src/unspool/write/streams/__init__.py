"""The streams of a written minidump but for its memory: a module each.

Each has `write(draft, output)`, which gives the stream's body, or None where nothing is known
that it could hold. What the body points to has then been added to the output.
"""

from __future__ import annotations
