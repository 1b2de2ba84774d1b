"""32-bit Arm as tables: A32 and T32 ("Thumb") code, little-endian, EABI."""

from __future__ import annotations

from unspool.arch.arm_code import arm_call_before, arm_return_word
from unspool.arch.base import Arch, PrPsInfo, PrStatus, SignalFrame

# DWARF for the Arm Architecture (AADWARF32): r0-r15 are 0-15. Those of the vector units
# (64 and up) are not kept.
FP, SP, LR, PC = 11, 13, 14, 15
# The frame pointer of T32 code, whose short instructions do not reach r11.
THUMB_FP = 7

# elf_gregset_t is struct pt_regs (linux/arch/arm/include/uapi/asm/ptrace.h): r0-r15, cpsr, and
# r0 as it was before a system call.
_PR_REG = (*range(16), None, None)
_SPECIAL = ((16, "cpsr"),)

# struct sigcontext (linux/arch/arm/include/uapi/asm/sigcontext.h): trap_no 0, error_code 4,
# oldmask 8, then 16 registers. struct ucontext: uc_flags 0, uc_link 4, uc_stack 8, uc_mcontext 20.
_REGS = 20 + 12


def _saved(ucontext: int) -> tuple[tuple[int, int], ...]:
    return tuple((number, ucontext + _REGS + 4 * number) for number in range(16))


# The stack pointer of a handler's caller points at struct rt_sigframe: siginfo 0 (128 bytes),
# ucontext 128; of the older kind it points at the ucontext itself, since Linux 2.6.18
# (linux/arch/arm/kernel/signal.c).
_SIGRETURN = _saved(0), 8
_RT_SIGRETURN = _saved(128), 128 + 8

ARM = Arch(
    name="arm",
    report_name="arm",
    machine=40,  # EM_ARM
    elf_class=1,
    pointer_size=4,
    register_names=(*(f"r{n}" for n in range(13)), "sp", "lr", "pc"),
    pc=PC,
    sp=SP,
    fp=FP,
    link=LR,
    ra_column=LR,
    # Bit 0 of a return address says that the caller is T32 code; it is no part of the address.
    code_address_mask=0xFFFFFFFE,
    stack_alignment=8,
    prstatus=PrStatus(148, 24, 72, _PR_REG, _SPECIAL),
    # Of uid and gid there are 16 bits each, as on i386.
    prpsinfo=PrPsInfo(124, 12, 28, 44),
    # mov r7, #number; svc #0: in the C library, or in a page of the kernel's ([sigpage], the
    # vectors before Linux 3.11). The kernel's A32 code has the number in the svc as well, for
    # itself when it was built for the old ABI (linux/arch/arm/kernel/sigreturn_codes.S).
    signal_frames=(
        SignalFrame("rt_sigreturn", b"\xad\x70\xa0\xe3\0\0\0\xef", *_RT_SIGRETURN),
        SignalFrame("rt_sigreturn", b"\xad\x70\xa0\xe3\xad\0\x90\xef", *_RT_SIGRETURN),
        SignalFrame("rt_sigreturn", b"\xad\x27\0\xdf", *_RT_SIGRETURN),
        SignalFrame("rt_sigreturn", b"\x4f\xf0\xad\x07\0\xdf", *_RT_SIGRETURN),
        SignalFrame("sigreturn", b"\x77\x70\xa0\xe3\0\0\0\xef", *_SIGRETURN),
        SignalFrame("sigreturn", b"\x77\x70\xa0\xe3\x77\0\x90\xef", *_SIGRETURN),
        SignalFrame("sigreturn", b"\x77\x27\0\xdf", *_SIGRETURN),
        SignalFrame("sigreturn", b"\x4f\xf0\x77\x07\0\xdf", *_SIGRETURN),
    ),
    is_return_address=arm_call_before,
    is_return_word=arm_return_word,
)
