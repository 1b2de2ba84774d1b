"""The table of test programs.

``ours`` is the crashed thread's list of functions, innermost first, as the source says it must
be; functions of the C library and of language runtimes are left out of it. A name stands for
itself whatever suffix a compiler adds (``.cold``, ``.constprop.0``); C++ names are without
arguments, and of Rust names there is the last component only.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

CHAIN = ("crash", "gamma_", "beta", "alpha", "main")


@dataclass(frozen=True)
class Program:
    name: str
    source: str
    ours: tuple[str, ...] = CHAIN
    compiler: str = "gcc"
    flags: tuple[str, ...] = ("-O2", "-g")
    more: tuple[str, ...] = ()
    """further sources"""
    plugin: tuple[str, ...] | None = None
    """flags of a shared library built from plugin.c and given as the first argument"""
    made: tuple[str, ...] | None = None
    """flags of an ELF object built from made.c and given as the first argument"""
    steps: tuple[str, ...] = ()
    """what to do with the linked file, see build.STEPS"""
    arguments: tuple[str, ...] = ()
    others: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """how many other threads have which list of our functions"""
    waiting: tuple[str, ...] = ()
    """the first thread's list when the program waits, where that thread is the one that crashes"""
    signal: str = "SIGSEGV"
    address: int | None = None
    """the address whose access failed"""
    repeats: int = 0
    """at least so many frames, if `ours` stands for them with repeated functions named once"""
    language: str = "c"
    kinds: tuple[str, ...] = ("kernel",)
    root: bool = True
    """whether the crashed thread's stack can be walked to its root"""
    options: tuple[str, ...] = ()
    """further options of unspool; {exe} and {dir} are replaced"""
    environment: tuple[tuple[str, str], ...] = ()
    needs: tuple[str, ...] = ()
    """see build.NEEDS"""

    def variant(self, name: str, **changes: Any) -> Program:
        return replace(self, name=name, **changes)


def parked(count: int, depth: int) -> Counter[tuple[str, ...]]:
    """The stacks of threads.c but the crashed one's: the parked workers and main."""
    stacks: Counter[tuple[str, ...]] = Counter({("main",): 1})
    for index in range(count):
        stacks["park", *("descend",) * (depth + index % 4), "worker"] += 1
    return stacks


chain = Program("chain", "chain.c", address=8)
threads = Program(
    "threads",
    "threads.c",
    ("boom", "crasher"),
    flags=("-O2", "-g", "-pthread"),
    others=parked(4, 3),
)
altstack = Program(
    "altstack", "altstack.c", ("give_up", "handler", "victim", "caller", "main"), signal="SIGABRT"
)
handmade = Program(
    "handmade",
    "handmade.c",
    ("callback", "hand_inner", "hand_outer", "enter", "main"),
    more=("handmade.S",),
)
M32: dict[str, Any] = {"compiler": "gcc-m32"}
ARM: dict[str, Any] = {"compiler": "aarch64-gcc", "kinds": ("qemu",)}
ARM_32: dict[str, Any] = {"compiler": "arm-gcc", "kinds": ("qemu",)}
EXIDX = ("-O2", "-funwind-tables")
NO_TABLES = ("-fno-asynchronous-unwind-tables", "-fno-unwind-tables")

TINY: dict[str, Any] = {
    "flags": ("-O2", "-g", "-nostdlib", "-static", "-fno-stack-protector"),
    "more": ("start.S",),
}

# Code that is loaded by hand and registered with GDB.
registered = Program(
    "jit-registered",
    "jit_registered.c",
    ("callback", "made_inner", "made_middle", "made_outer", "run", "main"),
    made=("-O2", "-g", "-c"),
)
HIDDEN = ("-O2", "-g", "-DHIDDEN")
hidden = registered.variant(
    "jit-hidden", ours=("callback", "run", "main"), flags=HIDDEN, made=("-O2", "-c")
)
REGISTERED: tuple[Program, ...] = (
    registered,
    registered.variant(
        "jit-registered-apart", flags=("-O2", "-g", "-DAPART"), made=("-O2", "-g", "-c", "-DAPART")
    ),
    registered.variant(
        "jit-registered-exec",
        made=("-O2", "-g", "-static", "-nostdlib",
              "-Wl,-Ttext-segment=0x600000000000,-emade_outer"),
    ),
    registered.variant(
        "jit-registered-dyn",
        made=("-O2", "-g", "-shared", "-nostdlib", "-fvisibility=hidden",
              "-Wl,-Ttext-segment=0x600000000000"),
    ),
    registered.variant("jit-registered-debug-frame", made=("-O2", "-g", "-c", *NO_TABLES)),
    registered.variant(
        "jit-registered-no-cfi", made=("-O2", "-c", "-fno-omit-frame-pointer", *NO_TABLES)
    ),
    registered.variant("jit-registered-m32", made=("-O2", "-g", "-c", "-fno-pic"), **M32),
    registered.variant(
        "jit-registered-m32-exec",
        made=("-O2", "-g", "-static", "-nostdlib", "-Wl,-Ttext-segment=0x50000000,-emade_outer"),
        **M32,
    ),
    registered.variant("jit-registered-aarch64", **ARM),
    registered.variant("jit-registered-arm", made=("-O2", "-g", "-c", "-marm"), **ARM_32),
    # Nobody is told of this code, but its unwind tables lie beside it.
    hidden,
    hidden.variant("jit-hidden-apart", flags=(*HIDDEN, "-DAPART"), made=("-O2", "-c", "-DAPART")),
    hidden.variant("jit-hidden-far", flags=(*HIDDEN, "-DFAR", "-shared-libgcc")),
    hidden.variant("jit-hidden-far-m32", flags=(*HIDDEN, "-DFAR", "-shared-libgcc"),
                   made=("-O2", "-c", "-fno-pic"), **M32),
    hidden.variant("jit-hidden-m32", made=("-O2", "-c", "-fno-pic"), **M32),
    hidden.variant("jit-hidden-aarch64", **ARM),
)  # fmt: skip

# Without a C library programs and cores have a few kilobytes: those bundled in tests/corpus.
TINY_PROGRAMS: tuple[Program, ...] = (
    Program(
        "tiny-chain",
        "chain.c",
        (*CHAIN, "_start"),
        address=8,
        kinds=("kernel", "kernel-anonymous"),
        **TINY,
    ),
    Program("tiny-minidebug", "chain.c", (*CHAIN, "_start"), steps=("minidebug",), **TINY),
    Program("tiny-m32", "chain.c", (*CHAIN, "_start"), compiler="gcc-m32", **TINY),
    Program(
        "tiny-threads",
        "tiny_threads.c",
        ("crash", "main", "_start"),
        kinds=("kernel", "gcore"),
        others=Counter({("park", *("descend",) * n, "worker", "spawn"): 1 for n in (1, 2, 3)}),
        waiting=("park", "main", "_start"),
        **TINY,
    ),
    Program(
        "tiny-signal",
        "tiny_signal.c",
        ("crash", "handler", "__restore_rt", "victim", "main", "_start"),
        address=16,
        **TINY,
    ),
    Program(
        "tiny-expression",
        "handmade.c",
        ("callback", "hand_inner", "hand_outer", "enter", "main", "_start"),
        flags=TINY["flags"],
        more=("expression.S", "start.S"),
    ),
    Program(
        "tiny-deep",
        "overflow.c",
        ("down",) * 20_000 + ("begin", "main", "_start"),
        flags=(*TINY["flags"], "-DLIMIT=20000"),
        more=("start.S",),
    ),
    Program(
        "tiny-truncated",
        "overflow.c",
        ("down",),
        repeats=100,
        root=False,
        flags=(*TINY["flags"], "-DLIMIT=20000"),
        more=("start.S",),
        kinds=("kernel-truncated",),
    ),
    Program(
        "tiny-aarch64-pac",
        "chain.c",
        (*CHAIN, "_start"),
        compiler="aarch64-gcc",
        kinds=("qemu",),
        flags=(*TINY["flags"], "-mbranch-protection=pac-ret+leaf"),
        more=("start.S",),
    ),
    Program(
        "tiny-arm",
        "chain.c",
        (*CHAIN, "_start"),
        compiler="arm-gcc",
        kinds=("qemu",),
        flags=("-O2", "-funwind-tables", *TINY["flags"][2:]),
        more=("start.S",),
    ),
    Program(
        "tiny-signal-arm",
        "tiny_signal.c",
        ("crash", "handler", "victim", "main", "_start"),
        compiler="arm-gcc",
        kinds=("qemu",),
        flags=("-O2", "-funwind-tables", *TINY["flags"][2:]),
        more=("start.S",),
    ),
    Program(
        "tiny-signal-aarch64",
        "tiny_signal.c",
        ("crash", "handler", "victim", "main", "_start"),
        compiler="aarch64-gcc",
        kinds=("qemu",),
        **TINY,
    ),
)

PROGRAMS: tuple[Program, ...] = (
    *TINY_PROGRAMS,
    # Optimisation and frame layout.
    chain.variant("chain-O0", flags=("-O0", "-g"), kinds=("kernel", "gdb", "kernel-anonymous")),
    chain.variant("chain-O1", flags=("-O1", "-g")),
    chain.variant("chain-O2", kinds=("kernel", "kernel-everything")),
    chain.variant("chain-O3", flags=("-O3", "-g")),
    chain.variant("chain-O0-nofp", flags=("-O0", "-fomit-frame-pointer")),
    chain.variant("chain-O2-fp", flags=("-O2", "-fno-omit-frame-pointer")),
    chain.variant("chain-lto", flags=("-O2", "-g", "-flto")),
    chain.variant("chain-cet", flags=("-O2", "-fcf-protection=full")),
    # Where unwind information and names are.
    chain.variant("chain-no-hdr", flags=("-O2", "-g", "-Wl,--no-eh-frame-hdr")),
    chain.variant("chain-debug-frame", flags=("-O2", "-g", *NO_TABLES)),
    chain.variant("chain-debug-frame-zlib", flags=("-O2", "-g", "-gz=zlib", *NO_TABLES)),
    chain.variant("chain-dwarf4", flags=("-O2", "-gdwarf-4", *NO_TABLES)),
    chain.variant("chain-fp-only", flags=("-O1", "-fno-omit-frame-pointer", *NO_TABLES)),
    chain.variant("chain-debuglink", steps=("debuglink",)),
    chain.variant("chain-debuglink-frame", flags=("-O2", "-g", *NO_TABLES), steps=("debuglink",)),
    chain.variant("chain-buildid", steps=("buildid",), options=("--symbols", "{dir}/symbols")),
    chain.variant("chain-minidebug", steps=("minidebug",), needs=("xz",)),
    # How the file is laid out.
    chain.variant("chain-static", flags=("-O2", "-g", "-static")),
    chain.variant("chain-static-pie", flags=("-O2", "-g", "-static-pie")),
    chain.variant("chain-musl", compiler="musl-gcc", flags=("-O2", "-g", "-static")),
    chain.variant("chain-one-segment", flags=("-O2", "-g", "-Wl,-z,noseparate-code")),
    chain.variant(
        "chain-text-moved", flags=("-O2", "-g", "-pie", "-Wl,-Ttext=0x500000,-z,separate-code")
    ),
    chain.variant("chain-no-pie", flags=("-O2", "-g", "-no-pie", "-Wl,-Ttext-segment=0x10000000")),
    chain.variant("chain-big-pages", flags=("-O2", "-g", "-Wl,-z,max-page-size=0x200000")),
    Program("deleted", "deleted.c", ("crash", "main"), options=("--executable", "{exe}")),
    # i386.
    chain.variant("chain-m32-O0", flags=("-O0", "-g"), **M32),
    chain.variant("chain-m32-O2", flags=("-O2", "-g", "-fomit-frame-pointer"), **M32),
    chain.variant("chain-m32-static", flags=("-O2", "-g", "-static"), **M32),
    threads.variant("threads-m32", **M32),
    altstack.variant("altstack-m32", **M32),
    altstack.variant("signal-m32-simple", flags=("-O2", "-g", "-DSIMPLE", "-DSAME_STACK"), **M32),
    handmade.variant("handmade-m32", **M32),
    Program(
        "realign-m32",
        "realign.c",
        ("crash", "aligned", "both", "main"),
        flags=("-O2", "-g", "-DALIGNMENT=16", "-mstackrealign", "-msse2"),
        **M32,
    ),
    # aarch64.
    chain.variant("chain-aarch64-O0", flags=("-O0", "-g"), **ARM),
    chain.variant("chain-aarch64-O2", **ARM),
    chain.variant("chain-aarch64-nofp", flags=("-O2", "-g", "-fomit-frame-pointer"), **ARM),
    chain.variant("chain-aarch64-static", flags=("-O2", "-g", "-static"), **ARM),
    chain.variant("chain-aarch64-pac", flags=("-O2", "-g", "-mbranch-protection=pac-ret"), **ARM),
    chain.variant(
        "chain-aarch64-pac-leaf", flags=("-O2", "-g", "-mbranch-protection=pac-ret+leaf"), **ARM
    ),
    threads.variant("threads-aarch64", **ARM),
    altstack.variant("altstack-aarch64", compiler="aarch64-gcc", kinds=("qemu", "qemu-sve")),
    handmade.variant("handmade-aarch64", **ARM),
    Program("leaf-aarch64", "handmade.c", ("hand_outer", "enter", "main"), more=("leaf.S",), **ARM),
    Program("vla-aarch64", "vla.c", ("crash", "with_alloca", "with_array", "main"), **ARM),
    Program(
        "exceptions-aarch64",
        "exceptions.cpp",
        ("catcher", "main"),
        flags=("-O2", "-g", "-DMODE=1"),
        signal="SIGABRT",
        compiler="aarch64-g++",
        language="c++",
        kinds=("qemu",),
    ),
    # 32-bit Arm. Without -g, and without -funwind-tables, C code has no unwind data at all.
    *(
        chain.variant(f"chain-arm-{name}", flags=tuple(flags.split()), **ARM_32)
        for name, flags in (
            ("O0", "-O0 -g"),
            ("O2", "-O2 -g"),
            ("a32", "-O2 -g -marm"),
            ("nofp", "-O2 -g -fomit-frame-pointer"),
            ("static", "-O2 -g -static"),
            ("exidx", "-O2 -funwind-tables"),
            ("exidx-O0", "-O0 -funwind-tables"),
            ("exidx-a32", "-O2 -marm -funwind-tables"),
            ("exidx-a32-O0", "-O0 -marm -funwind-tables"),
            ("exidx-static", "-O2 -static -funwind-tables"),
            ("exidx-apcs", "-O1 -marm -mapcs-frame -funwind-tables"),
            ("fp", "-O1 -marm -fno-omit-frame-pointer"),
            ("fp-t32", "-O1 -fno-omit-frame-pointer"),
            ("apcs", "-O1 -marm -mapcs-frame"),
            ("bare", "-O2"),
            ("bare-O0", "-O0"),
            ("bare-a32", "-O2 -marm"),
        )
    ),
    threads.variant("threads-arm", **ARM_32),
    threads.variant(
        "threads-arm-exidx", flags=("-O2", "-funwind-tables", "-pthread", "-static"), **ARM_32
    ),
    altstack.variant("altstack-arm", **ARM_32),
    altstack.variant("altstack-arm-bare", flags=("-O2",), **ARM_32),
    altstack.variant(
        "signal-arm-a32", flags=("-O2", "-marm", "-funwind-tables", "-DSAME_STACK"), **ARM_32
    ),
    altstack.variant(
        "signal-arm-simple", flags=("-O2", "-g", "-DSIMPLE", "-DSAME_STACK"), **ARM_32
    ),
    Program(
        "nested-arm",
        "nested.c",
        ("crash", "second", "first", "begin", "main"),
        flags=EXIDX,
        **ARM_32,
    ),
    Program("vla-arm", "vla.c", ("crash", "with_alloca", "with_array", "main"), **ARM_32),
    Program(
        "vla-arm-exidx",
        "vla.c",
        ("crash", "with_alloca", "with_array", "main"),
        flags=EXIDX,
        **ARM_32,
    ),
    Program("call-null-arm", "badcall.c", ("invoke", "dispatch", "main"), **ARM_32),
    Program(
        "call-wild-arm",
        "badcall.c",
        ("invoke", "dispatch", "main"),
        flags=("-O2", "-marm", "-funwind-tables", "-DTARGET=0x12345678"),
        **ARM_32,
    ),
    Program("tailcall-arm", "tailcall.c", ("last", "first", "main"), **ARM_32),
    Program(
        "noreturn-arm",
        "noreturn.c",
        ("fatal", "bail", "outer", "main"),
        flags=(*EXIDX, "-falign-functions=1", "-fno-toplevel-reorder"),
        signal="SIGABRT",
        **ARM_32,
    ),
    Program("coroutine-arm", "coroutine.c", ("crash", "coroutine"), flags=EXIDX, **ARM_32),
    Program(
        "deep-arm",
        "overflow.c",
        ("down",) * 20_000 + ("begin", "main"),
        flags=(*EXIDX, "-DLIMIT=20000"),
        **ARM_32,
    ),
    Program(
        "overflow-arm",
        "overflow.c",
        ("down", "begin", "main"),
        repeats=100_000,
        flags=EXIDX,
        **ARM_32,
    ),
    *(
        Program(
            f"exceptions-arm-{mode}",
            "exceptions.cpp",
            ours,
            flags=("-O2", f"-DMODE={mode}", *more),
            signal="SIGABRT",
            compiler="arm-g++",
            language="c++",
            kinds=("qemu",),
        )
        for mode, more, ours in (
            (1, (), ("catcher", "main")),
            (2, (), ("thrower", "guarded", "compare", "sorted", "main")),
            (
                4,
                ("-marm",),
                ("Guard::~Guard", "guarded", "compare", "sorted", "rethrower", "catcher", "main"),
            ),
        )
    ),
    # Threads.
    threads.variant("threads", kinds=("kernel", "gcore")),
    threads.variant(
        "threads-static", flags=("-O2", "-g", "-pthread", "-static"), kinds=("kernel", "gcore")
    ),
    threads.variant(
        "threads-200", flags=("-O2", "-g", "-pthread", "-DCOUNT=200"), others=parked(200, 3)
    ),
    Program("leader", "leader.c", ("crash", "worker"), flags=("-O2", "-g", "-pthread")),
    # Signals.
    altstack.variant("altstack", kinds=("kernel", "gdb")),
    altstack.variant("signal", flags=("-O2", "-g", "-DSAME_STACK")),
    altstack.variant("altstack-musl", compiler="musl-gcc", flags=("-O2", "-g", "-static")),
    Program("nested", "nested.c", ("crash", "second", "first", "begin", "main")),
    Program("vdso", "vdso.c", ("on_alarm", "ask", "main"), signal="SIGABRT"),
    Program("vdso-m32", "vdso.c", ("on_alarm", "ask", "main"), signal="SIGABRT", **M32),
    # Frames of unknown or changing size.
    Program("vla", "vla.c", ("crash", "with_alloca", "with_array", "main")),
    Program(
        "realign",
        "realign.c",
        ("crash", "aligned", "both", "main"),
        flags=("-O2", "-g", "-DALIGNMENT=64"),
    ),
    Program(
        "realign-avx",
        "realign.c",
        ("crash", "aligned", "both", "main"),
        flags=("-O1", "-g", "-DALIGNMENT=32", "-mavx", "-mstackrealign"),
        needs=("avx",),
    ),
    # Calls.
    Program("tailcall", "tailcall.c", ("last", "first", "main")),
    Program(
        "noreturn",
        "noreturn.c",
        ("fatal", "bail", "outer", "main"),
        flags=("-O2", "-g", "-falign-functions=1", "-fno-toplevel-reorder"),
        signal="SIGABRT",
    ),
    Program("call-null", "badcall.c", ("invoke", "dispatch", "main"), address=0),
    Program(
        "call-wild",
        "badcall.c",
        ("invoke", "dispatch", "main"),
        flags=("-O2", "-g", "-DTARGET=0x123456789000"),
        address=0x123456789000,
    ),
    Program(
        "call-data",
        "badcall.c",
        ("invoke", "dispatch", "main"),
        flags=("-O2", "-g", "-DTARGET=data"),
    ),
    Program("call-null-aarch64", "badcall.c", ("invoke", "dispatch", "main"), **ARM),
    Program(
        "dlopen",
        "dlopen.c",
        ("callback", "plugin_deeper", "plugin_enter", "main"),
        plugin=("-O2", "-g"),
    ),
    Program(
        "dlopen-moved",
        "dlopen.c",
        ("callback", "plugin_deeper", "plugin_enter", "main"),
        plugin=("-O2", "-g", "-Wl,-Ttext-segment=0x3000000"),
    ),
    *(
        Program(
            f"plt-{steps}",
            "plt.c",
            ("on_trap", "stepped", "main"),
            signal="SIGABRT",
            flags=("-O1", "-g", "-fcf-protection=none", "-Wl,-z,lazy", f"-DSTEPS={steps}"),
        )
        for steps in (1, 2, 3, 4, 5)
    ),
    # Deep stacks.
    Program(
        "deep",
        "overflow.c",
        ("down",) * 100_000 + ("begin", "main"),
        flags=("-O2", "-g", "-DLIMIT=100000"),
    ),
    Program("mutual", "mutual.c", ("pong", "ping") * 1000 + ("main",), flags=("-O2", "-g")),
    Program("overflow", "overflow.c", ("down", "begin", "main"), repeats=100_000),
    Program(
        "overflow-altstack",
        "overflow.c",
        ("handler", "down", "begin", "main"),
        flags=("-O2", "-g", "-DHANDLER"),
        signal="SIGABRT",
        repeats=100_000,
    ),
    # Hand-written code.
    handmade.variant("handmade"),
    Program("leaf", "handmade.c", ("hand_outer", "enter", "main"), more=("leaf.S",)),
    Program(
        "expression",
        "handmade.c",
        ("callback", "hand_inner", "hand_outer", "enter", "main"),
        more=("expression.S",),
    ),
    *(
        Program(
            f"prologue-{step}",
            "handmade.c",
            ("hand_outer", "enter", "main"),
            more=("prologue.S",),
            flags=("-O2", "-g", f"-DSTEP={step}"),
            signal="SIGILL",
        )
        for step in range(5)
    ),
    Program("jit", "jit.c", ("callback", "run", "main")),
    *REGISTERED,
    Program("coroutine", "coroutine.c", ("crash", "coroutine")),
    # What compilers do to names.
    Program("cold", "cold.c", ("report", "process", "main")),
    Program("inline", "inline.c", ("crash", "outer", "main")),
    Program(
        "templates",
        "templates.cpp",
        ("shop::Box::open", "shop::Box::operator()", "visit", "combine", "main"),
        compiler="g++",
        language="c++",
        flags=("-O1", "-g", "-std=c++17"),
    ),
    # Exceptions.
    *(
        Program(
            f"exception-{name}",
            "exceptions.cpp",
            ours,
            compiler="g++",
            language="c++",
            flags=("-O2", "-g", f"-DMODE={mode}"),
            signal="SIGABRT",
        )
        for mode, name, ours in (
            (1, "caught", ("catcher", "main")),
            (2, "uncaught", ("thrower", "guarded", "compare", "sorted", "main")),
            # Cleaning up has left thrower() when the search for a handler ends at sorted().
            (3, "noexcept", ("guarded", "compare", "sorted", "main")),
            (
                4,
                "cleanup",
                ("Guard::~Guard", "guarded", "compare", "sorted", "rethrower", "catcher", "main"),
            ),
        )
    ),
    # Other languages. Where panics abort, Rust 1.63 writes unwind tables only if asked to.
    Program(
        "rust",
        "panic.rs",
        ("checked", "area", "apply", "main", "main"),
        compiler="rustc",
        language="rust",
        flags=("-g", "-O", "-C", "panic=abort", "-C", "force-unwind-tables=yes"),
        signal="SIGABRT",
    ),
    Program(
        "rust-O0",
        "panic.rs",
        ("checked", "area", "main::{closure}", "apply", "main", "main"),
        compiler="rustc",
        language="rust",
        flags=("-C", "panic=abort", "-C", "force-unwind-tables=yes"),
        signal="SIGABRT",
    ),
    Program(
        "go",
        "nil.go",
        ("main.follow", *("main.descend",) * 6, "main.main.func2"),
        compiler="go",
        language="go",
        flags=(),
        signal="SIGABRT",
        environment=(("GOTRACEBACK", "crash"),),
    ),
)

BY_NAME = {program.name: program for program in PROGRAMS}
