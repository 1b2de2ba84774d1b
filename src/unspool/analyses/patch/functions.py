"""From what a person writes to code of the process: names, MODULE!NAME, address ranges."""

from __future__ import annotations

from unspool.analyses.patch.kernel import PREFIX, of_kernel
from unspool.analyses.patch.records import Checked, CodeRange
from unspool.errors import FormatError, UsageError
from unspool.image import Image
from unspool.memory import Fault
from unspool.symbols.functions import elf_functions, is_part_of, pe_functions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspool.model import Module
    from unspool.symbols.functions import Function
    from unspool.symbols.native import NativeLines
    from unspool.targets.base import Target

# Inlined copies are looked for at every such byte of code, of modules up to this size.
_STEP, _MOST_CODE = 4, 4 << 20
_MOST_NAMED = 5


def resolve(target: Target, wanted: Sequence[str], *, inlined: bool = True) -> list[Checked]:
    """The code of each function in the target. With `inlined`, DWARF is asked for copies of it.

    A function that is in no module's symbols is in the answer too, without code. Raises
    `UsageError` for what is neither a name nor a range.
    """
    book = FunctionBook(target)
    found = []
    for text in wanted:
        code = _range(text)
        if code is not None:
            module = target.space.module_at(code.start)
            code.module = module.index if module is not None else None
            found.append(Checked(text, [code]))
        else:
            found.append(_named(book, text, inlined))
    return found


def _range(text: str) -> CodeRange | None:
    first, dash, second = text.partition("-")
    if text[:2].lower() != "0x" or not dash:
        return None
    try:
        start, end = int(first, 16), int(second, 16)
    except ValueError:
        raise UsageError(f"{text}: no address range", "it is written 0x1000-0x1040") from None
    if not 0 <= start < end < 1 << 64:
        raise UsageError(f"{text}: no address range", "its end must be above its start")
    return CodeRange(text, start, end)


def _named(book: FunctionBook, text: str, inlined: bool) -> Checked:
    narrowed, _, name = text.rpartition("!")
    if text.startswith(PREFIX) and name:
        checked = Checked(text, [])
        of_kernel(book.target, checked, name)
        return checked
    if not name:
        raise UsageError(f"{text}: no function", "write NAME, MODULE!NAME or 0x1000-0x1040")
    modules = book.modules(narrowed)
    checked = Checked(text, [])
    if not modules:
        checked.unknown.append(f"there is no module {narrowed} in the target")
        return checked
    for module in modules:
        for function in book.matching(module, name):
            _add(checked, book, module, function)
    if not checked.ranges:
        checked.unknown.append(_why_none(book, modules, name))
    names = {book.target.modules[each.module].name for each in checked.ranges
             if each.module is not None}  # fmt: skip
    if len(names) > 1:
        checked.notes.append(f"it is in {len(names)} modules: {', '.join(sorted(names))}")
    if inlined:
        for module in modules:
            checked.notes += book.inlined(module, name, checked.ranges)
    return checked


def _add(checked: Checked, book: FunctionBook, module: Module, function: Function) -> None:
    bias = book.biases[module.index]
    code = CodeRange(
        function.name, function.start + bias, function.end + bias, module.index,
        sized=function.sized,
    )  # fmt: skip
    if function.ifunc:
        # memcpy in glibc: the symbol's code returns the address of the one for this CPU.
        checked.unknown.append(
            f"{module.name}!{function.name} only chooses the code that runs (STT_GNU_IFUNC); "
            "give that function by its own name"
        )
    if not function.sized:
        checked.notes.append(
            f"{module.name}!{function.name} has no size: it is taken to reach to "
            f"0x{code.end:x}, where the next one starts"
        )
    for other in checked.ranges:
        if (other.start, other.end) == (code.start, code.end):
            return
    checked.ranges.append(code)


def _last_word(name: str) -> str:
    """What the mangled form of a name has in it as well; empty if there is no such thing.

    `closure` of Rust's `main::{{closure}}`; nothing of `operator()`, which is two letters there.
    """
    if "operator" in name:
        return ""
    plain = name.partition("(")[0].rpartition("::")[2]
    words = "".join(each if each.isalnum() or each == "_" else " " for each in plain).split()
    return words[0] if words else ""


def _why_none(book: FunctionBook, modules: Sequence[Module], name: str) -> str:
    silent = [each.name for each in modules if not book.functions(each)]
    partly = [each.name for each in modules if each.index in book.stripped]
    text = f"no function {name} in the symbol tables"
    lists = (("no symbols are at hand of", silent), ("only exported ones are known of", partly))
    for words, names in lists:
        if names:
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            text += f"; {words} {', '.join(names[:_MOST_NAMED])}{more}"
    return text


class FunctionBook:
    """All functions of a target's modules, read when they are asked for.

    `biases` are what to add to a module's functions, by index; `stripped` are modules of which
    dynamic symbols are all that is known.
    """

    def __init__(self, target: Target) -> None:
        from unspool.symbols.finders import DebugFiles

        self.target = target
        self.files = DebugFiles(target.options.symbols, target.options.sysroot)
        self.biases: dict[int, int] = {}
        self.stripped: set[int] = set()
        self._functions: dict[int, list[Function]] = {}
        self._lines: dict[int, NativeLines | None] = {}

    def modules(self, narrowed: str) -> list[Module]:
        """The modules of a name, which may lack `.so…` or `.dll`; all for an empty one."""
        code = [each for each in self.target.modules if each.kind in ("elf", "vdso", "pe")]
        if not narrowed:
            return code
        exact = [each for each in code if narrowed in (each.name, each.path)]
        folded = narrowed.lower()
        return exact or [
            each
            for each in code
            if each.name.lower() == folded or each.name.lower().partition(".")[0] == folded
        ]

    def matching(self, module: Module, name: str) -> list[Function]:
        """The functions of that name, with their parts; else those of that demangled name."""
        functions = self.functions(module)
        found = [each for each in functions if is_part_of(each.name, name)]
        if found:
            return found
        from unspool.symbols.demangle import function_name, is_mangled

        last = _last_word(name)
        found = []
        for each in functions:
            if last not in each.name or not is_mangled(each.name):
                continue
            # Dots begin what a compiler marks on a part, and are in Rust's own names.
            for mangled in dict.fromkeys((each.name.partition(".")[0], each.name)):
                demangled = function_name(mangled)
                if name in (demangled, demangled.partition("(")[0]):
                    found.append(each)
                    break
        return found

    def functions(self, module: Module) -> list[Function]:
        """Every function of a module that has a name."""
        if module.index not in self._functions:
            try:
                found = self._read(module)
            except (FormatError, Fault):
                found = []
            self._functions[module.index] = found
        return self._functions[module.index]

    def _read(self, module: Module) -> list[Function]:
        image = self.target.space.image(module)
        if image is not None and not isinstance(image, Image):
            from unspool.symbols.pe.finders import PeDebugFiles

            self.biases[module.index] = image.base
            debug = PeDebugFiles(self.files).dwarf(module, image.file or image.headers)
            files = [each for each in (image.file, debug[1] if debug else None) if each]
            from unspool.analyses.patch.pdb_names import pdb_functions

            return pe_functions(image, files, pdb_functions(module, image, self.files))
        from unspool.symbols.elf.symbols import ElfSymbols
        from unspool.symbols.finders import has_symbols

        elf = image.elf if image is not None else None
        own = elf is not None and has_symbols(elf)
        debug_file = None if own else self.files.find(module, elf)
        bias = image.bias if image is not None else module.bias
        if (elf is None and debug_file is None) or bias is None:
            return []
        self.biases[module.index] = bias
        if not own and debug_file is None:
            self.stripped.add(module.index)
        source = elf if elf is not None else debug_file.elf if debug_file else None
        assert source is not None
        symbols = ElfSymbols(elf, debug_file.elf if debug_file else None, bias=bias)
        return elf_functions(source, symbols)

    def inlined(self, module: Module, name: str, ranges: Sequence[CodeRange]) -> list[str]:
        """Which functions of a module hold a copy of another one, in words.

        Only modules that have the function are looked at, or if none has it, those with debug
        information in their own files; and of them every fourth byte of code.
        """
        if ranges and not any(each.module == module.index for each in ranges):
            return []
        lines = self._open_lines(module, far=bool(ranges))
        if lines is None:
            return []
        mangled = {each.name for each in self.matching(module, name)} | {name}
        holders: dict[str, int] = {}
        functions = self.functions(module)
        if sum(each.end - each.start for each in functions) > _MOST_CODE:
            return [f"{module.name} is too large to be searched for inlined copies"]
        bias = self.biases[module.index]
        for function in functions:
            for address in range(function.start, function.end, _STEP):
                places, _ = lines.lookup(address)
                if len(places) > 1 and any(each.function in mangled for each in places[:-1]):
                    holders.setdefault(function.name, address + bias)
                    break
        return [
            f"a copy of it is inlined in {module.name}!{holder}, at 0x{address:x}: "
            "replacing the function leaves that as it is"
            for holder, address in sorted(holders.items())
        ]

    def _open_lines(self, module: Module, *, far: bool) -> NativeLines | None:
        """With `far` out of a separate debug file too, which is looked for in many places."""
        if module.index not in self._lines:
            self._lines[module.index] = self._dwarf(module, far)
        return self._lines[module.index]

    def _dwarf(self, module: Module, far: bool) -> NativeLines | None:
        from unspool.symbols import native
        from unspool.symbols.finders import has_dwarf

        image = self.target.space.image(module)
        elf = image.elf if isinstance(image, Image) else None
        path = module.file
        if elf is None or not native.available():
            return None
        if not has_dwarf(elf):
            debug = self.files.find(module, elf) if far else None
            if debug is None:
                return None
            elf, path = debug.elf, debug.path
        return native.open_lines(elf, path) if path is not None and has_dwarf(elf) else None
