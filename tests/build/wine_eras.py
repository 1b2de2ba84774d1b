"""What differs between releases of Wine, as a made-up process shows it: one `Era` a release.

Offsets and dates are those of Wine's sources, dlls/ntdll/unix/{signal_x86_64,signal_i386,
unix_private.h,virtual.c}, of the releases 6.11 to 11.10.
"""

from __future__ import annotations

Version = tuple[int, int]

WINDOWS_SAVED_64 = ("rbx", "rbp", "rsi", "rdi", "r12", "r13", "r14", "r15")
SYSV_SAVED_64 = ("rbx", "rbp", "r12", "r13", "r14", "r15")
SAVED_32 = ("ebx", "ebp", "esi", "edi")

FRAME_64 = {
    "rax": 0x00, "rbx": 0x08, "rcx": 0x10, "rdx": 0x18, "rsi": 0x20, "rdi": 0x28, "r8": 0x30,
    "r9": 0x38, "r10": 0x40, "r11": 0x48, "r12": 0x50, "r13": 0x58, "r14": 0x60, "r15": 0x68,
    "rip": 0x70, "cs": 0x78, "eflags": 0x80, "rsp": 0x88, "ss": 0x90, "rbp": 0x98,
}  # fmt: skip
FRAME_32 = {
    "eflags": 0x04, "eip": 0x08, "esp": 0x0C, "cs": 0x10, "eax": 0x1C, "ebx": 0x20, "ecx": 0x24,
    "edx": 0x28, "edi": 0x2C, "esi": 0x30, "ebp": 0x34,
}  # fmt: skip
CONTEXT_64 = {
    "flags": 0x30, "cs": 0x38, "rax": 0x78, "rcx": 0x80, "rdx": 0x88, "rbx": 0x90, "rsp": 0x98,
    "rbp": 0xA0, "rsi": 0xA8, "rdi": 0xB0, "r8": 0xB8, "r9": 0xC0, "r10": 0xC8, "r11": 0xD0,
    "r12": 0xD8, "r13": 0xE0, "r14": 0xE8, "r15": 0xF0, "rip": 0xF8,
}  # fmt: skip
CONTEXT_32 = {
    "flags": 0x00, "edi": 0x9C, "esi": 0xA0, "ebx": 0xA4, "edx": 0xA8, "ecx": 0xAC, "eax": 0xB0,
    "ebp": 0xB4, "eip": 0xB8, "cs": 0xBC, "esp": 0xC4,
}  # fmt: skip


class TebOffsets:
    """Offsets in a TEB, and in what hangs on it, for one word size."""

    def __init__(self, word: int) -> None:
        wide = word == 8
        self.stack_base, self.stack_limit, self.self = word, 2 * word, 0x30 if wide else 0x18
        self.pid, self.tid = (0x40, 0x48) if wide else (0x20, 0x24)
        self.peb = 0x60 if wide else 0x30
        self.dispatcher = 0x100 if wide else 0xC0  # WOW32Reserved
        self.private = 0x2F0 if wide else 0x1D4  # GdiTebBatch
        self.allocation = 0x1478 if wide else 0xE0C
        self.wow = 0x180C if wide else 0xFDC
        # PEB and the loader's list.
        self.image_base, self.ldr = 2 * word, 3 * word
        self.head = 0x10 if wide else 0x0C
        self.entry_base = 0x30 if wide else 0x18
        self.entry_size = 0x40 if wide else 0x20
        self.entry_names = (0x48, 0x58) if wide else (0x24, 0x2C)


class Era:
    """One release, for one word size. Attributes can be set to make a fork of it.

    `slot` is where the TEB points at the newest frame; `kernel_stack` where it points at the
    Unix stack, or None. `previous` and `cfa_at` are fields of a frame, None if it has none.
    `resume`: how a callback keeps the Unix side ("jmp_buf", "rbp", "cfa", "" for none at all).
    `cfi`: where the dispatcher's unwind data leads ("none", "windows", "stitched").
    `placement` of the Unix stack: "above" the Windows stack, "own", or in a "block" with the
    signal stack. `entry`: what lies at the return address of a callback ("bare", "deadbabe",
    "zero", "machine").
    """

    def __init__(self, version: str, bits: int = 64) -> None:
        major, minor = version.split(".")
        at: Version = (int(major), int(minor))
        wide = bits == 64
        self.version, self.bits = version, bits
        self.word = bits // 8
        self.teb = TebOffsets(self.word)
        self.frame = dict(FRAME_64 if wide else FRAME_32)
        self.context = CONTEXT_64 if wide else CONTEXT_32
        old, new = (0x328, 0x378) if wide else (0x1F8, 0x218)
        self.slot = new if at >= (10, 9) else old
        # What newer releases keep in the older slot, and older ones in the newer.
        self.decoys = {old: 0xA40} if at >= (10, 9) else {new: 0x4_0000_0003 if wide else 3}
        self.kernel_stack = _kernel_stack(at, wide)
        self.previous = (0xA0 if wide else 0x3C) if at >= (6, 16) else None
        self.cfa_at = (0xA8 if wide else 0x38) if at >= (8, 21) else None
        self.resume = _resume(at)
        self.cfi = "stitched" if at >= (8, 21) else "windows" if at >= _cfi(wide) else "none"
        self.placement = "above" if at < (8, 7) else "own" if at < (11, 8) else "block"
        self.entry = _entry(at, wide)
        self.new_exceptions = at >= (9, 0)
        self.apc_context = 0 if at >= (9, 0) else 0x30
        self.restore_flags = (0xB4 if at >= (8, 16) else 0x94) if wide else 0x02
        self.frame_size = _frame_size(at, wide)
        self.has_unix_calls = at >= (8, 0)
        self.ms_abi = wide and at < (8, 10)
        self.returns_by_jump = not wide and at < (8, 21)
        self.clears_fp = at >= (9, 0)

    @property
    def windows_saved(self) -> tuple[str, ...]:
        return WINDOWS_SAVED_64 if self.bits == 64 else SAVED_32

    @property
    def unix_saved(self) -> tuple[str, ...]:
        if self.bits == 32:
            return SAVED_32
        return WINDOWS_SAVED_64 if self.ms_abi else SYSV_SAVED_64


# What each changed against the one before it.
VERSIONS_64 = (
    "6.11", "6.16", "7.20", "7.21", "8.0", "8.7", "8.10", "8.16", "8.21", "9.0", "9.3", "10.9",
    "10.16", "11.8",
)  # fmt: skip
VERSIONS_32 = ("6.11", "6.16", "7.21", "8.0", "8.7", "8.10", "8.21", "9.0", "9.3", "10.9", "11.8")
ERAS = [(version, 64) for version in VERSIONS_64] + [(version, 32) for version in VERSIONS_32]
WITH_CALLBACKS = [each for each in ERAS if each[0] != "6.11"]


def _cfi(wide: bool) -> Version:
    return (7, 20) if wide else (7, 21)


def _kernel_stack(at: Version, wide: bool) -> int | None:
    if not wide:
        return 0x214 if at < (10, 9) else None
    if at >= (11, 8):
        return None
    return 0x370 if at < (10, 9) else 0x3A0 if at < (10, 16) else 0x3A8


def _resume(at: Version) -> str:
    if at < (6, 16):
        return ""
    return "jmp_buf" if at < (7, 21) else "rbp" if at < (8, 21) else "cfa"


def _entry(at: Version, wide: bool) -> str:
    if at >= (9, 0):
        return "machine"
    if at >= (8, 10):
        return "zero"
    return "bare" if wide and at < (7, 21) else "deadbabe"


def _frame_size(at: Version, wide: bool) -> int:
    if at < (9, 3):
        return 0x400 if wide else 0x380
    # Since 9.3 it depends on the processor: with AVX, with AVX-512.
    if not wide:
        return 0x400
    return 0x440 if at < (10, 9) else 0xA40
