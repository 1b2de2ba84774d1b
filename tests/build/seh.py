"""A made-up 32-bit Windows process with exception chains, as a minidump with all of its memory.

    process = SehProcess()
    at = process.chain([(0x12_F100, GOOD), (0x12_F200, FINAL)])
    data = process.dump()

`program` has functions at GOOD and OTHER and a table that lists GOOD, `ntdll.dll` has FINAL.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tests.build.minidump import Minidump
from tests.build.pe import I386, Export, Image, Section, image

TEB, PEB = 0x7FFD_E000, 0x7FFD_F000
LIMIT, BASE = 0x12_C000, 0x13_0000
PROGRAM, NTDLL = 0x40_0000, 0x7C90_0000
GOOD, OTHER, DATA, FINAL = PROGRAM + 0x1010, PROGRAM + 0x1020, PROGRAM + 0x3000, NTDLL + 0x1040
END = 0xFFFFFFFF
LOAD_CONFIG, COM_DESCRIPTOR = 10, 14
NO_SEH = 0x400


def load_config(table: int, count: int, *, size: int = 0x48) -> bytes:
    """An IMAGE_LOAD_CONFIG_DIRECTORY32 with these fields alone."""
    return struct.pack("<I60xII", size, table, count).ljust(size, b"\0")[:size]


def safe_image(
    handlers: Sequence[int] = (GOOD - PROGRAM,),
    *,
    base: int = PROGRAM,
    config: bytes | None = None,
    directory: tuple[int, int] | None = (0x2000, 64),
    managed: int | None = None,
    **fields: int,
) -> Image:
    """An image with a SafeSEH table at RVA 0x2100. `managed` are the flags of a COR20 header."""
    if config is None:
        config = load_config(base + 0x2100, len(handlers))
    cor20 = struct.pack("<IHHIII", 72, 2, 5, 0, 0, managed or 0)
    constants = config.ljust(0x100, b"\0") + struct.pack(f"<{len(handlers)}I", *handlers)
    constants = constants.ljust(0x200, b"\0") + cor20
    directories: dict[int, tuple[int, int] | Section] = {}
    if directory is not None:
        directories[LOAD_CONFIG] = directory
    if managed is not None:
        directories[COM_DESCRIPTOR] = 0x2200, 72
    sections = [
        Section(".text", b"\xc3" * 0x100, "rx"),
        Section(".rdata", constants, "r"),
        Section(".data", bytes(0x100), "rw"),
    ]
    return image(I386, sections, directories=directories, image_base=base, **fields)


def system_image(name: str) -> Image:
    """ntdll.dll, whose handler has a name."""
    sections = [Section(".text", b"\xc3" * 0x100, "rx")]
    return image(
        I386, sections, exports=[Export(name, FINAL - NTDLL)], image_base=NTDLL, dll=True
    )  # fmt: skip


class SehProcess:
    """The process in the making. `final` is what ntdll's handler is called."""

    def __init__(
        self, program: Image | None = None, *, final: str = "FinalExceptionHandlerPad12"
    ) -> None:
        self.program = program or safe_image()
        self.stack = bytearray(BASE - LIMIT)
        self.head = END
        self.sp = LIMIT + 0x100
        self.teb: bytes | None = None
        self.others: list[tuple[int, bytes]] = []
        self.final = final

    def write(self, address: int, data: bytes) -> None:
        """Writes to the stack."""
        self.stack[address - LIMIT : address - LIMIT + len(data)] = data

    def record(self, address: int, following: int, handler: int) -> None:
        self.write(address, struct.pack("<II", following, handler))

    def chain(self, records: Sequence[tuple[int, int]], *, end: int = END) -> None:
        """Records as (address, handler), each leading to the next, the TEB to the first."""
        places = [address for address, _ in records]
        self.head = places[0] if places else end
        for (address, handler), following in zip(records, [*places[1:], end], strict=True):
            self.record(address, following, handler)

    def dump(self, *, without_teb: bool = False, without_image: bool = False) -> bytes:
        made = Minidump("x86", "windows")
        registers = {"eip": PROGRAM + 0x1000, "esp": self.sp, "ebp": 0}
        made.thread(1, registers, (LIMIT, bytes(self.stack)), Teb=TEB)
        made.module(PROGRAM, self.program.size_of_image, "C:\\program.exe")
        system = system_image(self.final)
        made.module(NTDLL, system.size_of_image, "C:\\Windows\\System32\\ntdll.dll")
        made.memory(NTDLL, system.memory())
        if not without_image:
            made.memory(PROGRAM, self.program.memory())
        if not without_teb:
            made.memory(TEB, self.teb if self.teb is not None else self.teb_bytes())
        for address, data in self.others:
            made.memory(address, data)
        return made.build()

    def teb_bytes(self) -> bytes:
        """The TEB as it should be."""
        data = bytearray(0x1000)
        struct.pack_into("<III", data, 0, self.head, BASE, LIMIT)
        struct.pack_into("<I", data, 0x18, TEB)
        struct.pack_into("<I", data, 0x30, PEB)
        return bytes(data)
