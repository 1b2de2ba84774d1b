"""Frame pointers: for code without unwind data that keeps them."""

from __future__ import annotations

from unspool.model import Trust
from unspool.unwind.step import DynamicStrategy, Ended, Found, Missed, Query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.space import AddressSpace


_MAX_LOOKED_THROUGH = 1 << 16


class FramePointer(DynamicStrategy):
    """Reads the frame record (saved frame pointer, return address) that the frame pointer
    points at, and believes it if the record lies above the stack pointer and a call
    precedes the return address.
    """

    name = "frame_pointer"

    def __init__(self, space: AddressSpace) -> None:
        self.space = space

    def answer(self, query: Query) -> Found | Ended | Missed:
        arch = self.space.arch
        fp, sp = query.registers[arch.fp], query.above
        name = arch.register_names[arch.fp]
        if fp is None or sp is None:
            return Missed(f"{name} is not known")
        word = arch.pointer_size
        if fp < sp or fp % word:
            return Missed(f"{name} is 0x{fp:x}, not in the stack above 0x{sp:x}")
        region = self.space.memory.region(fp)
        if region is None or region is not self.space.memory.region(sp):
            return Missed(f"{name} is 0x{fp:x}, not in the same stack as 0x{sp:x}")
        record = self.space.memory.read(fp, 2 * word)
        older = int.from_bytes(record[:word], "little")
        address = int.from_bytes(record[word:], "little") & arch.code_address_mask
        module = self.space.module_at(query.lookup_pc)
        is_windows = module is not None and module.kind == "pe"
        # 64-bit Windows code keeps anything in rbp.
        proof = is_windows and arch.name == "x86-64"
        if address == 0 and older == 0 and not proof:
            return Ended("the frame record is zero, as the ABI asks of the outermost one")
        why = self._objection(address, older, fp + 2 * word, is_windows, proof)
        if why:
            return Missed(why)
        # Registers that the function may have saved are not known to the caller's frame.
        registers: list[int | None] = [None] * len(query.registers)
        registers[arch.pc] = address
        # With a link register the record lies at the bottom of a frame of unknown size.
        registers[arch.sp] = fp + 2 * word if arch.link is None else None
        registers[arch.fp] = older
        return Found(
            registers, Trust.FRAME_POINTER, above=fp + 2 * word, gap=self._gap(query, sp, fp)
        )

    def _gap(self, query: Query, sp: int, fp: int) -> str | None:
        """Why callers may lie between the stack pointer and the record, if any do.

        32-bit Windows code gets here when nothing is known of a function. Many keep ebp for
        something else, or as it was; then the record is an older function's.
        """
        module = self.space.module_at(query.lookup_pc)
        if module is not None and module.kind == "pe" and self.space.arch.name == "i386":
            return self._gap_if_calls(sp, fp, f"{module.name} need not keep a frame pointer")
        # What it does until it returns did not tell, see `code_ahead`. A function that has called
        # has a frame; if not, then its return address is what the stack ends with.
        why = "the code may not have pushed its frame pointer yet, or never do"
        if self.space.arch.name == "aarch64" and query.exact and is_made(self.space, query):
            return why if self._is_linked_elsewhere(query, fp) else None
        if self.space.arch.name != "x86-64":
            return None
        if query.exact:
            return self._gap_if_calls(sp, fp, why) if is_made(self.space, query) else None
        if is_generated(self.space, query):
            return self._gap_if_calls(sp, min(fp, sp + 8), why)
        return None

    def _is_linked_elsewhere(self, query: Query, fp: int) -> bool:
        """Whether the link register leads back to another place than the frame record does."""
        arch = self.space.arch
        link = query.registers[arch.link] if arch.link is not None else None
        if link is None:
            return False
        address = link & arch.code_address_mask
        saved = self.space.memory.read_uint(fp + arch.pointer_size, arch.pointer_size)
        return address != saved & arch.code_address_mask and bool(self.space.after_call(address))

    def _gap_if_calls(self, sp: int, fp: int, why: str) -> str | None:
        word = self.space.arch.pointer_size
        data = self.space.memory.read_available(sp, min(fp - sp, _MAX_LOOKED_THROUGH))
        for at in range(0, len(data) - word + 1, word):
            address = int.from_bytes(data[at : at + word], "little")
            if self.space.is_code(address - 1) and self.space.after_call(address) is not False:
                return why
        return None

    def _objection(
        self, address: int, older: int, sp: int, is_windows: bool, proof: bool
    ) -> str | None:
        """Why a frame record cannot be one; None if it can.

        Where the code before the return address is not at hand, the record must be part of
        a chain: its saved frame pointer points further up the same stack, or is zero. On Windows
        none is zero but that of the first function, which has no return address either. `proof`
        says that a chain proves nothing.
        """
        memory = self.space.memory
        after_call = self.space.after_call(address)
        if after_call is not None:
            return None if after_call else f"no call before 0x{address:x}, where the record leads"
        if not self.space.is_code(address - 1):
            return f"the record leads to 0x{address:x}, which is no code"
        is_last = older == 0 and not is_windows
        if is_last or (older >= sp and memory.region(older) is memory.region(sp)):
            return f"the code at 0x{address:x} is not at hand" if proof else None
        return f"the code at 0x{address:x} is not at hand, and the record is in no chain"


def is_made(space: AddressSpace, query: Query) -> bool:
    """Whether code was generated, or put into a file that has unwind data for the rest.

    V8's builtins are such a part of Node.js: its own compiler made them when that was built. Rust
    functions of a library without all of its unwind data are another (Wasmtime 36).
    """
    if is_generated(space, query):
        return True
    module = space.module_at(query.lookup_pc)
    image = space.image(module) if module is not None and module.kind == "elf" else None
    return image is not None and image.eh_frame()[1] is not None


def is_generated(space: AddressSpace, query: Query) -> bool:
    """Whether a frame is in code of no file."""
    module = space.module_at(query.lookup_pc)
    return module is None or module.kind == "jit"
