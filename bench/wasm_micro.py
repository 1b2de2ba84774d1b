"""Inside one process: microseconds for a frame of WebAssembly, walked again.

usage: wasm_micro.py CORE, with the Python that unspool is installed for. Prints JSON: the walk of
the thread with the most frames, and the library's walk of its largest activation alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from statistics import median
from time import process_time

import unspool
from unspool.model import Stack, Thread
from unspool.targets.base import Target
from unspool.unwind.strategies.order import default_stepper
from unspool.unwind.strategies.wasm_stack import StackReader
from unspool.unwind.walk import walk
from unspool.unwind.wasm_frames import TRAITS, frames

RUNS = 30


def main(core: str) -> None:
    with unspool.open(core) as target:
        stepper = default_stepper(target.space, target.wine, lambda: target.generated)
        stacks = [(walk(stepper, thread), thread) for thread in target.threads]
        stack, thread = max(stacks, key=lambda each: len(each[0].frames))
        wasm = [each for each in stack.frames if stack.segments[each.segment].kind == "wasm"]
        print(json.dumps({
            "frames": len(stack.frames), "wasm": len(wasm),
            "walk": timed(lambda: len(walk(stepper, thread).frames)),
            "library": library(target, stack, thread),
        }))  # fmt: skip


def library(target: Target, stack: Stack, thread: Thread) -> dict[str, float]:
    """The frames of the largest activation, by `wasm_frames` as another program would use it."""
    traits = TRAITS[target.arch.name]
    first = next(each for each in stack.frames if stack.segments[each.segment].kind == "wasm")
    low, high = stack.segments[first.segment].low, stack.segments[first.segment].high
    assert low is not None
    assert high is not None
    fp = target.space.memory.read_uint(low - traits.older_sp, traits.word)

    def run() -> int:
        walked = frames(
            traits, StackReader(target.space).read, first.pc, fp, None,
            is_code=lambda pc: target.generated.at(pc - 1) is not None,
            stack=(low, high + (1 << 20)),
        )  # fmt: skip
        return sum(1 for _ in walked.pairs())

    return timed(run)


def timed(work: Callable[[], int]) -> dict[str, float]:
    """Microseconds of CPU time for one of the frames that `work` counts."""
    times = []
    for _ in range(RUNS):
        start = process_time()
        count = work()
        times.append((process_time() - start) / count * 1e6)
    return {"median": median(times), "best": min(times), "runs": RUNS}


if __name__ == "__main__":
    main(sys.argv[1])
