"""What an architecture is to the unwinder: a table of facts.

Every number has its source beside it in the tables of this package. Registers are
known by their DWARF numbers everywhere; names appear only for people.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unspool.cursor import Buffer


class PrStatus:
    """Layout of NT_PRSTATUS (`struct elf_prstatus`): where the id and the registers lie.

    `order[i]` is the DWARF number of the i-th word of `pr_reg`, or None for a word that
    no unwinding needs. `special` are some of the latter by name, as (i, name): where Wine
    keeps what it knows of a thread, and which code a thread runs.
    """

    __slots__ = ("order", "registers_offset", "size", "special", "tid_offset")

    def __init__(
        self,
        size: int,
        tid_offset: int,
        registers_offset: int,
        order: Sequence[int | None],
        special: Sequence[tuple[int, str]] = (),
    ) -> None:
        self.special = special
        self.size = size
        self.tid_offset = tid_offset
        self.registers_offset = registers_offset
        self.order = order


class PrPsInfo:
    """Layout of NT_PRPSINFO (`struct elf_prpsinfo`): pid, short name, start of arguments."""

    __slots__ = ("arguments_offset", "name_offset", "pid_offset", "size")

    def __init__(self, size: int, pid_offset: int, name_offset: int, arguments_offset: int) -> None:
        self.size = size
        self.pid_offset = pid_offset
        self.name_offset = name_offset
        self.arguments_offset = arguments_offset


class SignalFrame:
    """A frame that the kernel pushes for a signal handler, known by its return trampoline.

    `code` are the trampoline's bytes at the pc. `saved` lists (DWARF number, offset from
    the stack pointer there), `alt_stack` is the offset of `uc_stack`, or None for frames
    without one.
    """

    __slots__ = ("alt_stack", "code", "name", "saved")

    def __init__(
        self,
        name: str,
        code: bytes,
        saved: Sequence[tuple[int, int]],
        alt_stack: int | None,
    ) -> None:
        self.name = name
        self.code = code
        self.saved = saved
        self.alt_stack = alt_stack


class Arch:
    """One architecture. `report_name` is its name in reports, `machine` its ELF e_machine.

    `is_return_address` says whether a call ends at a place in code; `is_return_word` the same
    where there is the word that the call left, if that says more than the address does.
    """

    __slots__ = (
        "code_address_mask", "elf_class", "fp", "is_return_address", "is_return_word", "link",
        "machine", "mask", "name", "pc", "pointer_size", "prpsinfo", "prstatus", "ra_column",
        "register_names", "report_name", "signal_frames", "sp", "stack_alignment",
    )  # fmt: skip

    def __init__(
        self,
        *,
        name: str,
        report_name: str,
        machine: int,
        elf_class: int,
        pointer_size: int,
        register_names: Sequence[str],
        pc: int,
        sp: int,
        fp: int,
        link: int | None,
        ra_column: int,
        code_address_mask: int,
        stack_alignment: int,
        prstatus: PrStatus,
        prpsinfo: PrPsInfo,
        signal_frames: Sequence[SignalFrame],
        is_return_address: Callable[[Buffer, int], bool],
        is_return_word: Callable[[Buffer, int, int], bool] | None = None,
    ) -> None:
        self.name = name
        self.report_name = report_name
        self.machine = machine
        self.elf_class = elf_class
        self.pointer_size = pointer_size
        self.mask = (1 << pointer_size * 8) - 1
        self.register_names = register_names
        self.pc = pc
        self.sp = sp
        self.fp = fp
        self.link = link
        self.ra_column = ra_column
        self.code_address_mask = code_address_mask
        self.stack_alignment = stack_alignment
        self.prstatus = prstatus
        self.prpsinfo = prpsinfo
        self.signal_frames = signal_frames
        self.is_return_address = is_return_address
        self.is_return_word = is_return_word

    def with_code_mask(self, mask: int) -> Arch:
        """The same architecture where code addresses have just the bits of `mask`."""
        other = Arch.__new__(Arch)
        for name in Arch.__slots__:
            setattr(other, name, getattr(self, name))
        other.code_address_mask = mask
        return other
