"""Which strategies are asked, and in which order: the surest first."""

from __future__ import annotations

from unspool.image import Image
from unspool.unwind.step import DynamicStrategy, Missed, Stepper
from unspool.unwind.strategies.dwarf_cfi import DwarfCfi
from unspool.unwind.strategies.signal_frame import SignalTrampoline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unspool.generated.code import GeneratedCode
    from unspool.space import AddressSpace
    from unspool.unwind.step import Ended, Found, Query, TableStrategy
    from unspool.wine.process import WineProcess


def default_stepper(
    space: AddressSpace,
    wine: WineProcess | None = None,
    find_generated: Callable[[], GeneratedCode] | None = None,
) -> Stepper:
    """A stepper with every strategy that applies to a target.

    `find_generated` finds code that the process has made, and adds it to the space's modules; it
    is called when a frame is in executable memory that is in no module.
    """
    cfi = DwarfCfi(space)
    tables: list[TableStrategy] = [SignalTrampoline(space), cfi]
    # Wine's modules; but .NET on Linux runs code of PE files as well.
    if space.arch.name == "x86-64" and any(module.kind == "pe" for module in space.modules):
        from unspool.unwind.strategies.pe_x64 import PeX64

        tables.insert(1, PeX64(space))
    stepper = Stepper(space, tables, _Dynamic(space, tables, wine))
    if space.arch.name == "arm":
        from unspool.unwind.strategies.arm_edges import ArmEdges
        from unspool.unwind.strategies.arm_exidx import ArmExidx

        tables.insert(1, ArmExidx(space, cfi))
        stepper.early.append(ArmEdges(space, cfi))
    if wine is not None:
        from unspool.unwind.strategies.wine import add_wine

        add_wine(stepper, wine, cfi)
    if find_generated is not None:
        _find_when_needed(stepper, find_generated)
    return stepper


_IN_V8 = "v8dbg_SmiTag"  # see generated/v8


def _find_when_needed(stepper: Stepper, find_generated: Callable[[], GeneratedCode]) -> None:
    space = stepper.space

    looked: set[int] = set()

    def find() -> None:
        stepper.look_at_new_code = stepper.look_at_code_without_row = None
        from unspool.unwind.strategies.generated import add_generated

        add_generated(stepper, find_generated())

    def look(address: int) -> None:
        module = space.module_at(address)
        # It is a module already where the target has been walked before.
        is_known = module is not None and module.kind in ("wasm", "jit")
        if is_known or (module is None and space.is_code(address)):
            find()

    def look_into_files(address: int) -> None:
        """A runtime may keep code in its file that it made when it was built: V8's builtins."""
        module = space.module_at(address)
        if module is None or module.kind != "elf" or module.index in looked:
            return
        looked.add(module.index)
        image = space.image(module)
        elf = image.elf if isinstance(image, Image) else None
        if elf is not None and elf.sections() and elf.may_name(_IN_V8):
            find()

    stepper.look_at_new_code = look
    stepper.look_at_code_without_row = look_into_files


class _Dynamic:
    """The dynamic strategies, loaded for the first frame without a row: often there is none.

    Guesses are loaded for the first frame that those cannot answer for who know.
    """

    def __init__(
        self, space: AddressSpace, tables: list[TableStrategy], wine: WineProcess | None
    ) -> None:
        self.wine = wine
        self.space = space
        self.tables = tables
        self.knowing: list[DynamicStrategy] = []
        self.guesses: list[DynamicStrategy] = []

    def __iter__(self) -> Iterator[DynamicStrategy]:
        if not self.knowing:
            self._add_knowing()
        yield from self.knowing
        if not self.guesses:
            self._add_guesses()
        yield from self.guesses

    def _add_knowing(self) -> None:
        from unspool.unwind.strategies.leaf import Leaf
        from unspool.unwind.strategies.root import Root

        space = self.space
        self.knowing = [Root(space), *_for_32_bit_windows(space), Leaf(space)]
        if space.arch.name == "arm":
            from unspool.unwind.strategies.arm_exidx import ArmExidx
            from unspool.unwind.strategies.arm_guesses import ArmLeaf

            exidx = self.tables[1]
            assert isinstance(exidx, ArmExidx)
            self.knowing[-1] = ArmLeaf(space, exidx)

    def _add_guesses(self) -> None:
        from unspool.unwind.strategies.frame_pointer import FramePointer
        from unspool.unwind.strategies.scan import Scan

        space = self.space
        self.guesses = [FramePointer(space), *_ahead(space), Scan(space, self.tables)]
        if space.arch.name == "aarch64":
            # A leaf function has its caller's frame pointer, and its own caller in a register:
            # the vdso of Linux 6.1 has no unwind data, and its clock_gettime makes no frame.
            self.guesses[:2] = self.guesses[1::-1]
        if space.arch.name in ("x86-64", "aarch64"):
            self.guesses.insert(0, _CodeAhead(space, made=True))
        if space.arch.name == "arm":
            from unspool.unwind.strategies.arm_code_analysis import ArmCodeAnalysis
            from unspool.unwind.strategies.arm_guesses import ArmFramePointer

            analysis = ArmCodeAnalysis(space, self.tables[0])
            self.guesses[:1] = [analysis, ArmFramePointer(space)]
        if self.wine is not None:
            from unspool.unwind.strategies.wine_rescue import guesses_for_wine

            self.guesses = guesses_for_wine(self.wine, self.guesses)


def _for_32_bit_windows(space: AddressSpace) -> list[DynamicStrategy]:
    """Those that know how Windows code for i386 is made, if there may be any."""
    if space.arch.name != "i386" or not any(module.kind == "pe" for module in space.modules):
        return []
    from unspool.unwind.strategies.code_analysis import CodeAnalysis
    from unspool.unwind.strategies.fpo import Fpo
    from unspool.unwind.strategies.x86_epilogue import X86Epilogue

    return [Fpo(space), X86Epilogue(space), CodeAnalysis(space)]


def _ahead(space: AddressSpace) -> list[DynamicStrategy]:
    return [_CodeAhead(space)] if space.arch.name in ("i386", "x86-64", "aarch64") else []


_MOST_LEFT = 64
_RETURNS = (b"\xc3", b"\xc0\x03\x5f\xd6")  # ret, of both


class _CodeAhead(DynamicStrategy):
    """`code_ahead.Ahead`, loaded for the first frame that it is for, or `AheadInMadeCode`."""

    def __init__(self, space: AddressSpace, made: bool = False) -> None:
        self.name = "made_code" if made else "code_ahead"
        self.space = space
        self.made = made
        self._guess: DynamicStrategy | None = None

    @property
    def guess(self) -> DynamicStrategy:
        if self._guess is None:
            from unspool.unwind.strategies.code_ahead import Ahead, AheadInMadeCode

            self._guess = AheadInMadeCode(self.space) if self.made else Ahead(self.space)
        return self._guess

    def answer(self, query: Query) -> Found | Missed | Ended:
        if self.made:
            from unspool.unwind.strategies.frame_pointer import is_generated, is_made

            if query.planted or not is_made(self.space, query):
                return Missed("compiled code keeps to other rules")
            # Of a file's code that has called little must be left, else nothing is loaded for it.
            left = self.space.memory.read_available(query.pc, _MOST_LEFT)
            ends = any(code in left for code in _RETURNS)
            if not query.exact and not is_generated(self.space, query) and not ends:
                return Missed("the code goes on after its call")
        elif not query.exact:
            return Missed("the frame has called another one")
        return self.guess.answer(query)
