"""AArch64 as tables."""

from __future__ import annotations

from unspool.arch.base import Arch, PrPsInfo, PrStatus, SignalFrame
from unspool.arch.calls import aarch64_call_before

# DWARF for the Arm 64-bit Architecture (AADWARF64), table 4: x0-x30 0-30, sp 31, pc 32,
# ELR_mode 33, RA_SIGN_STATE 34.
FP, LR, SP, PC = 29, 30, 31, 32

# struct user_pt_regs: x0-x30, sp, pc, pstate.
_PR_REG = (*range(31), SP, PC, None)
_SPECIAL = ((33, "pstate"),)

# The stack pointer of a handler's caller points at struct rt_sigframe: siginfo 0 (128
# bytes), ucontext 128: uc_flags 0, uc_link 8, uc_stack 16, uc_sigmask 40 (padded to 128
# bytes), mcontext 168 aligned to 16 = 176: fault_address 0, regs 8
# (linux/arch/arm64/kernel/signal.c, include/uapi/asm/{ucontext.h,sigcontext.h}).
_REGS = 128 + 176 + 8
_SAVED = (*((n, _REGS + 8 * n) for n in range(31)), (SP, _REGS + 248), (PC, _REGS + 256))

AARCH64 = Arch(
    name="aarch64",
    report_name="aarch64",
    machine=183,  # EM_AARCH64
    elf_class=2,
    pointer_size=8,
    register_names=(*(f"x{n}" for n in range(31)), "sp", "pc", "elr_mode", "ra_sign_state"),
    pc=PC,
    sp=SP,
    fp=FP,
    link=LR,
    ra_column=LR,
    # Return addresses can carry a pointer authentication code in their upper bits. User
    # addresses have at most 52 bits, 48 unless the program asked for more; a core's
    # NT_ARM_PAC_MASK note says which bits exactly.
    code_address_mask=(1 << 48) - 1,
    stack_alignment=16,
    prstatus=PrStatus(392, 32, 112, _PR_REG, _SPECIAL),
    prpsinfo=PrPsInfo(136, 24, 40, 56),
    signal_frames=(
        # mov x8, #139; svc #0: the vdso's trampoline. The vdso has CFI for it, but that
        # recovers x29 and x30 alone: it would lose the interrupted pc.
        SignalFrame("rt_sigreturn", b"\x68\x11\x80\xd2\x01\0\0\xd4", _SAVED, 144),
    ),
    is_return_address=aarch64_call_before,
)
