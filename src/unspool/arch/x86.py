"""i386 as tables."""

from __future__ import annotations

from unspool.arch.base import Arch, PrPsInfo, PrStatus, SignalFrame
from unspool.arch.calls import x86_call_before

# System V ABI, Intel386 supplement, table 2.14. On Linux .eh_frame uses the same numbers;
# only Darwin swaps esp and ebp there.
EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI, EIP = range(9)

# struct user_regs_struct (linux/arch/x86/include/asm/user_32.h).
_PR_REG = (
    EBX, ECX, EDX, ESI, EDI, EBP, EAX,
    None, None, None, None,  # ds, es, fs, gs
    None,  # orig_eax
    EIP,
    None, None,  # cs, eflags
    ESP,
    None,  # ss
)  # fmt: skip

_SPECIAL = (
    (7, "ds"), (8, "es"), (9, "fs"), (10, "gs"), (11, "orig_eax"), (13, "cs"),
    (14, "eflags"), (16, "ss"),
)  # fmt: skip

# struct sigcontext_32 (linux/arch/x86/include/uapi/asm/sigcontext.h).
_SIGCONTEXT = (
    (EDI, 16), (ESI, 20), (EBP, 24), (ESP, 28), (EBX, 32), (EDX, 36), (ECX, 40), (EAX, 44),
    (EIP, 56),
)  # fmt: skip


def _saved(sigcontext: int) -> tuple[tuple[int, int], ...]:
    return tuple((register, sigcontext + offset) for register, offset in _SIGCONTEXT)


# struct rt_sigframe without pretcode, which the handler's ret has popped: sig 0, pinfo 4,
# puc 8, info 12 (128 bytes), ucontext 140: uc_stack 148, sigcontext 160.
# struct sigframe likewise: sig 0, sigcontext 4; no alternate stack is recorded.
X86 = Arch(
    name="i386",
    report_name="x86",
    machine=3,  # EM_386
    elf_class=1,
    pointer_size=4,
    register_names=("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip"),
    pc=EIP,
    sp=ESP,
    fp=EBP,
    link=None,
    ra_column=EIP,
    code_address_mask=(1 << 32) - 1,
    stack_alignment=4,
    prstatus=PrStatus(144, 24, 72, _PR_REG, _SPECIAL),
    prpsinfo=PrPsInfo(124, 12, 28, 44),
    signal_frames=(
        # mov $173, %eax; int $0x80: vdso, glibc, musl.
        SignalFrame("rt_sigreturn", b"\xb8\xad\0\0\0\xcd\x80", _saved(160), 148),
        # pop %eax; mov $119, %eax; int $0x80
        SignalFrame("sigreturn", b"\x58\xb8\x77\0\0\0\xcd\x80", _saved(4), None),
        # The same after its pop: then `sig` is gone from the stack.
        SignalFrame("sigreturn", b"\xb8\x77\0\0\0\xcd\x80", _saved(0), None),
    ),
    is_return_address=x86_call_before,
)
