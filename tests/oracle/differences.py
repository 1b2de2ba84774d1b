"""Where a peer cannot be the judge, from which frame on, and why we are right there.

Up to that frame the peer must agree; the functions beyond it are held against the source by the
other tests of the same core. A peer that is better than said here passes as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch


@dataclass(frozen=True)
class Difference:
    """`cores` are patterns of PROGRAM/KIND; `after` is the last function where the peer is right.

    Without it the peer is right about frame 0 alone. `among` limits it to threads that have a
    function of that name. `names`: it is right about functions, else about addresses only.
    `hangs`: the peer never answers and is not asked.
    """

    peer: str
    cores: tuple[str, ...]
    after: str | None
    why: str
    among: str | None = None
    names: bool = True
    hangs: bool = False

    def trusted(self, functions: list[str]) -> int:
        """How many frames of a thread with these functions the peer can judge."""
        if self.among is not None and self.among not in functions:
            return len(functions)
        if self.after is None:
            return 1
        return functions.index(self.after) + 1 if self.after in functions else len(functions)


def differences(name: str, peer: str) -> list[Difference]:
    """What is known of a peer and a core, `name` being PROGRAM/KIND."""
    return [d for d in DIFFERENCES if d.peer == peer and matches(name, d.cores)]


def matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


FRAME_RECORDS = (
    "without unwind data eu-stack follows frame records on aarch64: it shows the frame of the link "
    "register twice and misses functions without a record"
)
NO_LIBRARIES = (
    "eu-stack knows libraries from NT_FILE, or from the linker's list without a sysroot, and a "
    f"qemu-user core has neither; {FRAME_RECORDS}"
)
NO_MASK = (
    "a qemu-user core has no NT_ARM_PAC_MASK note, and without it the peer takes the "
    "authentication code for a part of the return address: no code is there"
)
NO_EXIDX = "eu-stack does not read 32-bit Arm's exception index, and stops where no CFI is"
NO_CALL = (
    "where nothing was executed there is no unwind data: the return address that the call has "
    "just pushed lies at the stack pointer (in the link register on aarch64), after a call"
)

NOT_TOLD = "nothing tells of the code; that its tables lie beside it only unspool looks for"

DIFFERENCES = (
    # Code that is registered with GDB.
    Difference(
        "eu-stack", ("jit-registered*/*",), "callback", "eu-stack does not know GDB's JIT interface"
    ),
    Difference("eu-stack", ("jit-hidden*/*",), "callback", NOT_TOLD),
    Difference("gdb", ("jit-hidden*/*",), "callback", NOT_TOLD),
    Difference(
        "gdb",
        ("jit-registered-no-cfi/*",),
        "made_inner",
        "gdb looks for a frame pointer that is set up by the second instruction, and GCC has put "
        "two others before it: gdb reads a return address of 0 from the wrong place",
    ),
    Difference(
        "gdb",
        ("jit-registered-*/qemu",),
        "callback",
        "gdb reads the list when it opens a core; of a qemu-user core it knows no file by then",
    ),
    # eu-stack and aarch64.
    Difference(
        "eu-stack", ("chain-aarch64-O?/qemu", "chain-aarch64-nofp/qemu"), "main", NO_LIBRARIES
    ),
    Difference("eu-stack", ("vla-aarch64/qemu",), "main", NO_LIBRARIES),
    Difference("eu-stack", ("threads-aarch64/qemu",), None, NO_LIBRARIES, among="park"),
    Difference("eu-stack", ("threads-aarch64/qemu",), None, NO_LIBRARIES, among="main"),
    Difference("eu-stack", ("threads-aarch64/qemu",), "crasher", NO_LIBRARIES, among="crasher"),
    Difference("eu-stack", ("altstack-aarch64/*", "exceptions-aarch64/qemu"), None, NO_LIBRARIES),
    Difference(
        "eu-stack",
        ("handmade-aarch64/qemu",),
        "hand_inner",
        FRAME_RECORDS,
    ),
    Difference("eu-stack", ("leaf-aarch64/qemu",), "enter", NO_LIBRARIES),
    Difference("eu-stack", ("call-null-aarch64/qemu",), None, NO_CALL),
    Difference(
        "eu-stack",
        ("tiny-signal-aarch64/qemu",),
        "handler",
        "qemu's trampoline is in no file: eu-stack follows the frame record there and "
        "misses victim(), which has none",
    ),
    Difference("eu-stack", ("chain-aarch64-pac*/qemu",), "gamma_", NO_MASK),
    Difference("eu-stack", ("tiny-aarch64-pac/qemu",), "gamma_", NO_MASK),
    # gdb and aarch64.
    Difference("gdb", ("chain-aarch64-pac*/qemu", "tiny-aarch64-pac/qemu"), None, NO_MASK),
    Difference(
        "gdb",
        ("altstack-aarch64/qemu-sve",),
        None,
        "gdb 13 loops for ever over the SVE record of a signal frame when the core has no SVE "
        "registers; the same core made with sve=off is no problem",
        hangs=True,
    ),
    # 32-bit Arm.
    Difference("eu-stack", ("*-arm/qemu", "*-arm-*/qemu"), None, NO_EXIDX),
    Difference(
        "eu-stack",
        ("overflow-arm/qemu",),
        None,
        "eu-stack takes the mark $t for a function's name where that has no size",
        names=False,
    ),
    *(
        Difference(
            "gdb",
            ("threads-arm/qemu",),
            after,
            "glibc's functions without an entry in the exception index have no names either: gdb "
            "does not know where they start. Their prologues lead to callers that called them",
            among=among,
        )
        for after, among in ((None, "main"), ("worker", "park"), ("crasher", "crasher"))
    ),
    Difference(
        "gdb",
        ("signal-arm-simple/qemu", "nested-arm/qemu"),
        "__default_sa_restorer",
        "gdb takes the frame of __default_sa_restorer() for one with siginfo: what it finds there "
        "is no code. The registers of victim() are where the kernel's older frame has them",
    ),
    Difference(
        "gdb",
        ("tiny-signal-arm/qemu",),
        "handler",
        "gdb does not know the page of qemu's (and the kernel's) that the handler returns to",
    ),
    Difference(
        "gdb",
        ("exceptions-arm-4/qemu",),
        "Guard::~Guard",
        "~Guard() cannot throw and has no entry in the exception index: gdb guesses its prologue, "
        "and finds no caller",
    ),
    *(
        Difference(
            peer,
            ("call-data/kernel",),
            "",
            "the peer names the object that was called; it is no function",
            names=False,
        )
        for peer in ("gdb", "eu-stack")
    ),
    # Calls to where no code is, and leaves without unwind data.
    Difference("eu-stack", ("call-null/*", "call-wild/*", "call-data/*"), None, NO_CALL),
    Difference(
        "eu-stack",
        ("leaf/*",),
        None,
        "hand_outer() has no unwind data and no frame: eu-stack takes the caller's frame "
        "pointer for its own, which leads nowhere; the return address is at the top",
    ),
    Difference(
        "eu-stack",
        ("chain-fp-only/*",),
        None,
        "crash() calls nothing, so it has no frame: eu-stack takes the frame pointer of gamma_() "
        "for its own and so misses gamma_() itself",
    ),
    # Code without any unwind data.
    Difference(
        "gdb",
        ("jit/*",),
        None,
        "gdb gives up where no symbol says in which function the made code is; its frame "
        "record is sound, and leads to run(), which the source says is the caller",
        among="run",
    ),
    Difference(
        "gdb",
        ("chain-musl/*",),
        "libc_start_main_stage2",
        "musl's start code has no unwind data: gdb reads a return address of 0",
    ),
    Difference(
        "eu-stack",
        ("chain-musl/*",),
        "libc_start_main_stage2",
        "musl's start code has no unwind data: eu-stack stops",
    ),
    Difference(
        "gdb",
        ("altstack-musl/*",),
        "raise",
        "musl's raise() and abort() have no unwind data: gdb analyses the prologue of "
        "raise() wrongly and reads a return address of 0",
    ),
    Difference(
        "eu-stack",
        ("altstack-musl/*",),
        None,
        "musl's raise() and abort() have no unwind data, nor frame pointers to follow",
    ),
    Difference(
        "gdb",
        ("vdso-m32/*",),
        "clock_gettime64",
        "the i386 vdso has no unwind data for its C functions: gdb reads a return address "
        "of 0, though the frame pointer leads to the libc's clock_gettime64()",
    ),
    Difference(
        "eu-stack",
        ("vdso-m32/*",),
        "clock_gettime64",
        "the i386 vdso has no unwind data for its C functions: eu-stack stops",
    ),
    Difference(
        "gdb",
        ("coroutine/*",),
        "__start_context",
        "makecontext() plants the address of __start_context() as a return address, so "
        "pc - 1 is in no function; gdb goes on with what is on the stack. Its unwind data "
        "say that it has no caller",
    ),
    # Go.
    Difference(
        "gdb",
        ("go/*",),
        "runtime.sigreturn",
        "Go's own signal trampoline has no unwind data and a name of its own: gdb does not "
        "see the signal frame. The instructions are those of a trampoline, and beyond it "
        "the source's functions follow",
        among="runtime.sigreturn",
    ),
    Difference(
        "eu-stack",
        ("go/*",),
        "runtime.sigreturn",
        "as gdb: eu-stack stops at the trampoline",
        among="runtime.sigreturn",
    ),
    *(
        Difference(
            peer,
            ("go/*",),
            switch,
            "it has changed to the thread's first stack without a trace in its unwind data; the "
            "return address of mstart() still lies there",
            among=switch,
        )
        for peer in ("gdb", "eu-stack")
        # Which of them a thread is in that waits differs from crash to crash.
        for switch in ("runtime.mcall", "runtime.morestack")
    ),
    Difference(
        "eu-stack",
        ("threads-m32/live",),
        "main",
        "eu-stack stops in a live i386 process at a frame whose CFA is read from memory, as "
        "main()'s is; with a core of the same program it goes on",
        among="main",
    ),
    # Cores and files with parts missing.
    Difference(
        "eu-stack",
        ("tiny-chain/kernel-anonymous",),
        None,
        "eu-stack finds no file for a program whose ELF header is not in the core",
    ),
    Difference(
        "eu-stack",
        ("tiny-signal/*",),
        "__restore_rt",
        "the trampoline has no unwind data; its instructions say what it is, and the "
        "kernel's frame beyond it has the registers of victim()",
    ),
)
