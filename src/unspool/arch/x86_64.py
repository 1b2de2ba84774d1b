"""x86-64 as tables."""

from __future__ import annotations

from unspool.arch.base import Arch, PrPsInfo, PrStatus, SignalFrame
from unspool.arch.calls import x86_call_before

# System V ABI, AMD64 supplement, figure 3.36 "DWARF register number mapping".
RAX, RDX, RCX, RBX, RSI, RDI, RBP, RSP = range(8)
R8, R9, R10, R11, R12, R13, R14, R15 = range(8, 16)
RIP = 16

# struct user_regs_struct (linux/arch/x86/include/asm/user_64.h).
_PR_REG = (
    R15, R14, R13, R12, RBP, RBX, R11, R10, R9, R8, RAX, RCX, RDX, RSI, RDI,
    None,  # orig_rax
    RIP,
    None, None,  # cs, eflags
    RSP,
    None, None, None, None, None, None, None,  # ss, fs_base, gs_base, ds, es, fs, gs
)  # fmt: skip

_SPECIAL = (
    (15, "orig_rax"), (17, "cs"), (18, "eflags"), (20, "ss"), (21, "fs_base"), (22, "gs_base"),
    (23, "ds"), (24, "es"), (25, "fs"), (26, "gs"),
)  # fmt: skip

# When the handler returns, the stack pointer is past `pretcode` of struct rt_sigframe and
# points at its ucontext: uc_flags 0, uc_link 8, uc_stack 16, sigcontext 40
# (linux/arch/x86/include/{asm/sigframe.h,uapi/asm/sigcontext.h}).
_SIGCONTEXT = (R8, R9, R10, R11, R12, R13, R14, R15, RDI, RSI, RBP, RBX, RDX, RAX, RCX, RSP, RIP)
_SAVED = tuple((register, 40 + 8 * i) for i, register in enumerate(_SIGCONTEXT))

_NAMES = (
    "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip",
)  # fmt: skip

X86_64 = Arch(
    name="x86-64",
    report_name="x86_64",
    machine=62,  # EM_X86_64
    elf_class=2,
    pointer_size=8,
    register_names=_NAMES,
    pc=RIP,
    sp=RSP,
    fp=RBP,
    link=None,
    ra_column=RIP,
    code_address_mask=(1 << 64) - 1,
    stack_alignment=8,
    prstatus=PrStatus(336, 32, 112, _PR_REG, _SPECIAL),
    prpsinfo=PrPsInfo(136, 24, 40, 56),
    signal_frames=(
        # mov $15, %rax; syscall. glibc and musl use it in this form, Go too.
        SignalFrame("rt_sigreturn", b"\x48\xc7\xc0\x0f\0\0\0\x0f\x05", _SAVED, 16),
        # mov $15, %eax; syscall: the shorter encoding of musl and of hand-written restorers.
        SignalFrame("rt_sigreturn", b"\xb8\x0f\0\0\0\x0f\x05", _SAVED, 16),
    ),
    is_return_address=x86_call_before,
)
