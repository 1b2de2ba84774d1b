"""Small minidumps, honest and lying, for the tests of what takes them apart and shows them."""

from __future__ import annotations

import struct

from tests.build import minidump_records as r
from tests.build.minidump import List, Minidump

STACK, CODE = 0x7FFC_0000_1000, 0x40_0000


def crash() -> bytes:
    """One of nearly everything, as Breakpad writes it on Linux."""
    dump = Minidump("amd64", "linux")
    xmm0 = bytes(160) + b"\1" * 16
    registers = {"rip": CODE + 0x1139, "rsp": STACK, "rbp": STACK + 32, "float_save": xmm0}
    words = struct.pack("<8Q", CODE + 0x1150, 1, STACK + 64, 0, CODE + 0x1200, 0, 0, 0)
    dump.thread(4711, registers, (STACK, words + bytes(range(64))), name="main")
    dump.thread(4712, {"rip": CODE + 0x2000, "rsp": STACK + 0x1000}, (STACK + 0x1000, bytes(16)))
    dump.module(CODE, 0x5000, "/srv/bin/boom", codeview=r.build_id(bytes(range(20))))
    dump.module(0x7F00_0000_0000, 0x20_0000, "/lib/libc.so.6", codeview=r.build_id(b"\xcd" * 20))
    dump.exception(4711, 11, 8, [1, 8], registers=registers, ExceptionFlags=1)
    dump.memory(CODE + 0x1130, b"\x90" * 32)
    dump.stream(r.LINUX_CMD_LINE, b"/srv/bin/boom\0--now\0")
    dump.stream(r.LINUX_LSB_RELEASE, b"DISTRIB_ID=Debian\nDISTRIB_RELEASE=12\n")
    dump.stream(r.LINUX_AUXV, struct.pack("<6Q", 3, CODE + 64, 6, 4096, 0, 0))
    dump.dso_debug([(0, "", CODE + 0x3000), (0x7F00_0000_0000, "/lib/libc.so.6", 0x7F00_001F_0000)])
    dump.stream(0xABCD, b"nobody knows what this is")
    return dump.build()


def windows() -> bytes:
    """What Windows and Crashpad add."""
    dump = Minidump("x86", "windows", memory="64")
    dump.misc(99, 0x6553F000, size=1364)
    guid = bytes(range(16, 32))
    dump.thread(1, {"eip": 0x40_1000, "esp": 0x12_F000}, (0x12_F000, bytes(range(100))), name="UI")
    dump.module(
        0x40_0000, 0x1000, "C:\\game.exe", codeview=r.rsds("C:\\build\\game.pdb", guid, 3),
        version=r.version_info((1, 2, 3, 4)),
    )  # fmt: skip
    dump.module(0x50_0000, 0x1000, "C:\\old.dll", codeview=r.nb10("old.pdb"))
    dump.unloaded_module(0x60_0000, 0x1000, "gone.dll")
    dump.exception(1, 0xC0000005, 0x40_1000, [1, 0x10])
    dump.region(0x40_0000, 0x1000, 0x20)
    dump.region(0x50_0000, 0x3000)
    dump.handles([(4, "File", "\\Device\\Null"), (8, "Event", "")])
    dump.crashpad({"version": "1.0"}, {0: {"plugin": "yes"}})
    dump.breakpad_info(1, 2)
    return dump.build()


def lying() -> bytes:
    """Counts, sizes and RVAs that are not true, and text that would drive a terminal."""
    dump = Minidump("amd64", "linux")
    dump.thread(7, {"rip": 1}, (0x1000, bytes(32)), Stack_DataSize=1 << 30)
    dump.thread(8, {"rip": 2}, (0x2000, bytes(32)), Context_Rva=0xFFFF_0000)
    dump.lists[r.THREAD_LIST] = List(count=1 << 31)
    dump.module(0x1000, 0x1000, "\x1b]0;owned\x07\u202eexe.\n", ModuleNameRva=3)
    dump.module(0x2000, 0x1000, "\x1b]0;owned\x07\u202eexe.\n")
    dump.stream(r.LINUX_CMD_LINE, b"\x1b[2Jboom\xff\0")
    dump.extra_entries += [(r.LINUX_MAPS, 64, 16), (r.LINUX_AUXV, 16, 1 << 20), (0x77, 12, 0)]
    return dump.build()


ALL = {"crash": crash, "windows": windows, "lying": lying}
