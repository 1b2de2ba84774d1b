"""Importing a part of a library, without the rest of it and without what it hardly uses.

`symbolic` takes a third of the time of a small core to import, if all of it is.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any
else:
    ModuleType = type(sys)  # importing `types` for it takes longer

# What `symbolic` imports to convert a file, or never uses in what we call; each brings others
# along: all kinds of compression, the platform's name.
_LATER = ("shutil", "uuid")


def part(name: str) -> Any:
    """A module of the library, as "library.module". Raises `ImportError`.

    Importing the package imports all its modules and `inspect` and more with them, which
    takes as long again as what we need of it. So its place is taken by a module that
    executes the package when somebody asks it for anything: for the rest of the program it
    is as if we had not been there.
    """
    loaded = sys.modules.get(name)
    if loaded is not None:
        return loaded
    from importlib import import_module

    package = name.partition(".")[0]
    if package not in sys.modules:
        _stand_in(package)
    later = [_Later(each) for each in _LATER if each not in sys.modules]
    sys.modules.update((each.__name__, each) for each in later)
    traces = os.environ.get("RUST_BACKTRACE")
    try:
        return import_module(name)
    finally:
        for each in later:
            each.make_way()
        # The library turns on Rust's backtraces for this process and all its children.
        if traces is None:
            os.environ.pop("RUST_BACKTRACE", None)
        else:
            os.environ["RUST_BACKTRACE"] = traces


class _Later(ModuleType):
    """Stands for a module that is imported when it is asked for anything.

    The library keeps it; for everybody else it is gone when the library has been imported.
    """

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        from importlib import import_module

        self.make_way()
        return getattr(import_module(self.__name__), name)

    def make_way(self) -> None:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]


def _stand_in(package: str) -> None:
    from importlib.util import find_spec, module_from_spec

    spec = find_spec(package)
    if spec is None or spec.loader is None:
        return  # the import that follows says so
    module: Any = module_from_spec(spec)
    plain, execute = type(module), spec.loader.exec_module

    class Lazy(plain):  # type: ignore[valid-type, misc]
        def __getattr__(self, name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(name)
            module.__class__ = plain
            execute(module)
            return getattr(module, name)

    module.__class__ = Lazy
    sys.modules[package] = module
