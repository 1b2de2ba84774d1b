"""Calls in all kinds of ways down to a wait, and tells its own stack before that.

A line of JSON, names as perf maps have them, innermost first; then "ready".
"""

import json
import sys
import time


def names():
    frame = sys._getframe(2)
    while frame is not None:
        yield f"py::{frame.f_code.co_qualname}:{frame.f_code.co_filename}"
        frame = frame.f_back


def leaf(n):
    print(json.dumps(list(names_of())), flush=True)
    print("ready", flush=True)
    time.sleep(1000)


def names_of():
    return list(names())


class Klass:
    def method(self, n):
        return self.method(n - 1) if n else sorted([2, 1], key=lambda x: leaf(x))  # noqa: PLW0108 - a frame of its own


def generator(depth):
    yield Klass().method(depth)


def main(depth):
    for _ in generator(depth):
        pass


main(int(sys.argv[1]))
