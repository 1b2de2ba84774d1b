"""Data tables: where Wine keeps things, by architecture and version.

Sources are Wine's `dlls/ntdll/unix/{signal_x86_64,signal_i386,unix_private.h}` and
`include/winternl.h` of releases 6.11 to 11.10, checked on running processes of 8.0 and 10.0.

No entry is chosen by version alone. Staging, Proton and other forks shift private fields, so
every candidate is tried and believed by what it holds; the version only breaks ties.
"""

from __future__ import annotations

from unspool.arch import x86, x86_64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Version = tuple[int, int]

# The pointer to the system call dispatcher in x86-64 processes: the page behind Windows'
# KUSER_SHARED_DATA (5.15 and later).
DISPATCHER_POINTER = 0x7FFE1000
# Variables that ntdll.dll exports and its Unix half writes, with pointers to the dispatchers of
# system calls (5.20 and later) and of calls of Unix libraries (7.21 and later).
DISPATCHER_VARIABLES = ("__wine_syscall_dispatcher", "__wine_unix_call_dispatcher")


class TebLayout:
    """Offsets in the thread environment block, which Windows defines, for one word size.

    `wow32_reserved` points at the dispatcher in i386 processes. `wow_offset` is the distance
    to the other TEB of a WoW64 thread. `syscall_frame`, `kernel_stack` are Wine's own: where
    they may be; `private` is the area that Wine keeps such things in (GdiTebBatch), `pthread`
    where it keeps the C library's thread pointer.
    """

    __slots__ = (
        "allocation", "kernel_stack", "peb", "pid", "private", "pthread", "self", "size",
        "stack_base", "stack_limit", "syscall_frame", "tid", "word", "wow32_reserved", "wow_offset",
    )  # fmt: skip

    def __init__(
        self,
        *,
        word: int,
        stack_base: int,
        stack_limit: int,
        self_: int,
        pid: int,
        tid: int,
        peb: int,
        wow32_reserved: int,
        allocation: int,
        wow_offset: int,
        size: int,
        syscall_frame: Sequence[int],
        kernel_stack: Sequence[int],
        private: tuple[int, int],
        pthread: Sequence[int] = (),
    ) -> None:
        self.pthread = pthread
        self.private = private
        self.word = word
        self.stack_base = stack_base
        self.stack_limit = stack_limit
        self.self = self_
        self.pid = pid
        self.tid = tid
        self.peb = peb
        self.wow32_reserved = wow32_reserved
        self.allocation = allocation
        self.wow_offset = wow_offset
        self.size = size
        self.syscall_frame = syscall_frame
        self.kernel_stack = kernel_stack


# `syscall_frame` is at 0x328 in 5.20 to 10.8 and at 0x378 since 10.9; `kernel_stack` at 0x370
# in 6.11 to 10.8, 0x3a0 in 10.9 to 10.15, 0x3a8 in 10.16 to 11.7, and gone since.
TEB64 = TebLayout(
    word=8, stack_base=0x08, stack_limit=0x10, self_=0x30, pid=0x40, tid=0x48, peb=0x60,
    wow32_reserved=0x100, allocation=0x1478, wow_offset=0x180C, size=0x1838,
    syscall_frame=(0x378, 0x328), kernel_stack=(0x370, 0x3A0, 0x3A8),
    private=(0x2F0, 0x470), pthread=(0x320, 0x330),
)  # fmt: skip
# 0x1f8 in 5.20 to 10.8, 0x218 since 10.9; `kernel_stack` at 0x214 up to 10.8.
TEB32 = TebLayout(
    word=4, stack_base=0x04, stack_limit=0x08, self_=0x18, pid=0x20, tid=0x24, peb=0x30,
    wow32_reserved=0xC0, allocation=0xE0C, wow_offset=0xFDC, size=0x1000,
    syscall_frame=(0x218, 0x1F8), kernel_stack=(0x214,),
    private=(0x1D4, 0x2C4),
)  # fmt: skip

# WoW64: TlsSlots[1] of the 64-bit TEB points at a WOW64_CPURESERVED (flags, machine), behind
# which the I386_CONTEXT of the 32-bit code lies (wow64cpu).
WOW64_CPU_AREA = 0x1488
WOW64_CONTEXT = 4


class FrameLayout:
    """`struct syscall_frame`: the Windows side's registers while Unix code runs.

    `registers` are (DWARF number, offset) of pc, stack pointer and the callee-saved registers,
    which every release since 6.11 keeps at the same offsets. `cs` is the offset of the code
    segment's selector, `user_cs` what it holds. `previous` is the frame of the Unix code that
    called back into Windows code (6.16 and later), `syscall_cfa` the stack pointer of that code
    (8.21 and later). `frame_pointer` is how far the frame pointer is from the frame while a
    system call runs, `size` how far the smallest frame reaches. `unix_arguments` are the bytes
    that a call of a Unix library takes off the Windows stack.

    Instructions of the dispatchers, in all releases the same: `pop_pc` takes the return address
    off the stack into the frame, `pop_flags` the flags, `save_fp` is the last to save a register.
    `after_syscall` and `after_unix_call` follow the call of the Unix function.
    """

    __slots__ = (
        "after_syscall", "after_unix_call", "alignment", "cs", "frame_pointer", "pc", "pop_flags",
        "pop_pc", "previous", "registers", "save_fp", "size", "sp", "syscall_cfa",
        "unix_arguments", "user_cs",
    )  # fmt: skip

    def __init__(
        self,
        *,
        registers: Sequence[tuple[int, int]],
        pc: int,
        sp: int,
        cs: int,
        user_cs: int,
        previous: int,
        syscall_cfa: int,
        frame_pointer: int,
        size: int,
        alignment: int,
        unix_arguments: int,
        pop_pc: bytes,
        pop_flags: bytes,
        save_fp: bytes,
        after_syscall: bytes,
        after_unix_call: bytes,
    ) -> None:
        self.registers = registers
        self.pc = pc
        self.sp = sp
        self.cs = cs
        self.user_cs = user_cs
        self.previous = previous
        self.syscall_cfa = syscall_cfa
        self.frame_pointer = frame_pointer
        self.size = size
        self.alignment = alignment
        self.unix_arguments = unix_arguments
        self.pop_pc = pop_pc
        self.pop_flags = pop_flags
        self.save_fp = save_fp
        self.after_syscall = after_syscall
        self.after_unix_call = after_unix_call


FRAME_X86_64 = FrameLayout(
    registers=(
        (x86_64.RBX, 0x08), (x86_64.RSI, 0x20), (x86_64.RDI, 0x28), (x86_64.R12, 0x50),
        (x86_64.R13, 0x58), (x86_64.R14, 0x60), (x86_64.R15, 0x68), (x86_64.RIP, 0x70),
        (x86_64.RSP, 0x88), (x86_64.RBP, 0x98),
    ),
    pc=0x70, sp=0x88, cs=0x78, user_cs=0x33, previous=0xA0, syscall_cfa=0xA8,
    frame_pointer=0x98, size=0x300, alignment=64, unix_arguments=0,
    # popq 0x70(%rcx); popq 0x80(%rcx); movq %rbp,0x98(%rcx)
    pop_pc=b"\x8f\x41\x70", pop_flags=b"\x8f\x81\x80\0\0\0",
    save_fp=b"\x48\x89\xa9\x98\0\0\0",
    # leaq -0x98(%rbp),%rcx; movq %rsp,%rcx
    after_syscall=b"\x48\x8d\x8d\x68\xff\xff\xff", after_unix_call=b"\x48\x89\xe1",
)  # fmt: skip
FRAME_I386 = FrameLayout(
    registers=(
        (x86.EIP, 0x08), (x86.ESP, 0x0C), (x86.EBX, 0x20), (x86.EDI, 0x2C), (x86.ESI, 0x30),
        (x86.EBP, 0x34),
    ),
    pc=0x08, sp=0x0C, cs=0x10, user_cs=0x23, previous=0x3C, syscall_cfa=0x38,
    frame_pointer=0x34, size=0x280, alignment=16, unix_arguments=0x10,
    # popl 8(%ecx); popl 4(%ecx); movl %ebp,0x34(%ecx)
    pop_pc=b"\x8f\x41\x08", pop_flags=b"\x8f\x41\x04", save_fp=b"\x89\x69\x34",
    # leal -0x34(%ebp),%esp; leal 0x10(%esp),%esp
    after_syscall=b"\x8d\x65\xcc", after_unix_call=b"\x8d\x64\x24\x10",
)  # fmt: skip


class Resume:
    """Where the Unix code that called back into Windows code goes on, relative to a base.

    The base is the word at `base_at` in the newest frame, or that frame itself; `adjust` is
    added to it to get the caller's stack pointer, or to the stack pointer among `registers`,
    which are (DWARF number, offset from the base), the pc among them. `span` is how far above
    the newest frame the base can be, `below` how far below it the caller's stack pointer.
    `since` and `until` are the releases (major, minor) that it was read in.
    """

    __slots__ = ("adjust", "base_at", "below", "name", "registers", "since", "span", "until")

    def __init__(
        self,
        name: str,
        base_at: int | None,
        adjust: int,
        registers: Sequence[tuple[int, int]],
        since: Version,
        until: Version,
        *,
        span: tuple[int, int] = (0, 1 << 64),
        below: int = 0,
    ) -> None:
        self.name = name
        self.base_at = base_at
        self.adjust = adjust
        self.registers = registers
        self.since = since
        self.until = until
        self.span = span
        self.below = below


_NEWEST = (99, 0)
_R12_TO_R15 = (x86_64.R12, x86_64.R13, x86_64.R14, x86_64.R15)


def _down(registers: Sequence[int], first: int, step: int) -> tuple[tuple[int, int], ...]:
    return tuple((register, first - step * index) for index, register in enumerate(registers))


RESUMES_X86_64 = (
    # What the dispatcher of 8.21 and later pushes before it switches: rbp, rbx, r12 …
    Resume(
        "syscall_cfa", 0xA8, 0,
        ((x86_64.RIP, -0x08), *_down((x86_64.RBP, x86_64.RBX, *_R12_TO_R15), -0x10, 8)),
        (8, 21), _NEWEST,
    ),
    # The frame pointer of `call_user_mode_callback`, saved behind the frame. 8.10 changed the
    # Unix side from Microsoft's calling convention to System V's: rsi and rdi went, and with
    # them ten vector registers, which tells the one from the other.
    Resume(
        "callback frame", 0x400, 0x10,
        ((x86_64.RIP, 0x08), (x86_64.RBP, 0x00), (x86_64.RBX, -0x08),
         *_down(_R12_TO_R15, -0x10, 8)),
        (8, 10), (8, 20), span=(0x450, 0x490),
    ),
    Resume(
        "callback frame", 0x400, 0x10,
        ((x86_64.RIP, 0x08), (x86_64.RBP, 0x00), (x86_64.RBX, -0x08),
         *_down((x86_64.RSI, x86_64.RDI, *_R12_TO_R15), -0x10, 8)),
        (7, 21), (8, 9), span=(0x4F0, 0x530),
    ),
    # A jmp_buf behind the frame, both in the local variables of KeUserModeCallback, whose stack
    # pointer is therefore below them (not seen at run time).
    Resume(
        "jmp_buf", None, 0,
        ((x86_64.RBX, 0x418), (x86_64.RSP, 0x420), (x86_64.RBP, 0x428), (x86_64.RSI, 0x430),
         (x86_64.RDI, 0x438), (x86_64.R12, 0x440), (x86_64.R13, 0x448), (x86_64.R14, 0x450),
         (x86_64.R15, 0x458), (x86_64.RIP, 0x460)),
        (6, 16), (7, 20), below=0x400,
    ),
)  # fmt: skip
RESUMES_I386 = (
    Resume(
        "syscall_cfa", 0x38, 0,
        ((x86.EIP, -0x04), *_down((x86.EBP, x86.EBX, x86.ESI, x86.EDI), -0x08, 4)),
        (8, 21), _NEWEST,
    ),
    Resume(
        "callback frame", 0x380, 0x08,
        ((x86.EIP, 0x04), (x86.EBP, 0x00), *_down((x86.EBX, x86.ESI, x86.EDI), -0x04, 4)),
        (7, 21), (8, 20),
    ),
    # On i386 the jmp_buf has the stack pointer as it was before setjmp returned.
    Resume(
        "jmp_buf", None, 4,
        ((x86.EBP, 0x388), (x86.EBX, 0x38C), (x86.EDI, 0x390), (x86.ESI, 0x394),
         (x86.ESP, 0x398), (x86.EIP, 0x39C)),
        (6, 16), (7, 20), below=0x400,
    ),
)  # fmt: skip


class ContextLayout:
    """Windows' CONTEXT record: (DWARF number, offset) of the registers; flags, size.

    `cs` is the offset of the code segment's selector, `selectors` what it can be: of 32-bit code
    under WoW64 too. `machine_flag` says of which CPU the registers are.
    """

    __slots__ = ("cs", "flags", "machine_flag", "registers", "selectors", "size", "word")

    def __init__(
        self,
        word: int,
        flags: int,
        machine_flag: int,
        size: int,
        cs: int,
        selectors: Sequence[int],
        registers: Sequence[tuple[int, int]],
    ) -> None:
        self.word = word
        self.flags = flags
        self.machine_flag = machine_flag
        self.size = size
        self.cs = cs
        self.selectors = selectors
        self.registers = registers


# Flags beside the machine: the kinds of registers that are in the record, and what Windows says
# of exceptions and system calls there (CONTEXT_EXCEPTION_ACTIVE …).
CONTEXT_CONTROL = 0x1
CONTEXT_OTHER_FLAGS = 0xF800007F
CONTEXT_X86_64 = ContextLayout(
    8, 0x30, 0x100000, 0x4D0, 0x38, (0x33, 0x23),
    (
        (x86_64.RAX, 0x78), (x86_64.RCX, 0x80), (x86_64.RDX, 0x88), (x86_64.RBX, 0x90),
        (x86_64.RSP, 0x98), (x86_64.RBP, 0xA0), (x86_64.RSI, 0xA8), (x86_64.RDI, 0xB0),
        *((x86_64.R8 + index, 0xB8 + 8 * index) for index in range(8)), (x86_64.RIP, 0xF8),
    ),
)  # fmt: skip
CONTEXT_I386 = ContextLayout(
    4, 0x00, 0x10000, 0x2CC, 0xBC, (0x23,),
    (
        (x86.EDI, 0x9C), (x86.ESI, 0xA0), (x86.EBX, 0xA4), (x86.EDX, 0xA8), (x86.ECX, 0xAC),
        (x86.EAX, 0xB0), (x86.EBP, 0xB4), (x86.EIP, 0xB8), (x86.ESP, 0xC4),
    ),
)  # fmt: skip

# EXCEPTION_RECORD: code 0, flags 4; address, number of parameters and parameters by word size.
EXCEPTION_RECORD = {8: (0x10, 0x18, 0x20), 4: (0x0C, 0x10, 0x14)}

# Where KiUserExceptionDispatcher's CONTEXT and EXCEPTION_RECORD are, from its stack pointer
# once its prologue is done (x86-64) or at its entry (i386): (context, record) offsets.
#   x86-64: 6.0 and later: the context is at the stack pointer, the record behind it.
#   i386: 6.x to 8.21: context 8; 9.0 and later: record 8, context 0x58.
EXCEPTION_AT_X86_64 = ((0x0, 0x4F0),)
EXCEPTION_AT_I386 = ((0x8, 0x2F0), (0x58, 0x8))
