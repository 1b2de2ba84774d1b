"""The texts of `--help`, from the tables of commands and options."""

from __future__ import annotations

from unspool.cli.commands import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unspool.cli.options import Option

WIDTH = 80

PURPOSE = "Every thread's whole call stack, from what is left of a process."

TARGET = (
    "A TARGET is an ELF core or a minidump (plain or compressed as .zst, .lz4, .xz or .gz), a "
    "report that was saved as JSON, the id of a process, or - for standard input. What it is, is "
    "told by its content. A number is a process id unless there is a file of that name."
)

# Of commands that read memory, which reports do not have.
_NO_REPORT = TARGET.replace("a report that was saved as JSON, ", "")

# What a command works on, where it is no TARGET.
OPERANDS = {
    "locks": _NO_REPORT,
    "seh": _NO_REPORT,
    "layout": _NO_REPORT,
    "core2md": (
        "CORE is what `unspool dump` takes as TARGET. PROCFS is a directory with files as in "
        "/proc/PID; if it is gone, the dump holds what the core says."
    ),
    "inspect": (
        "A DUMP is a minidump of any system and processor, plain or compressed as .zst, .lz4, "
        ".xz or .gz, or - for standard input. The text begins with a table of the dump's streams "
        "and what is wrong with it; then come the streams, each with its structures and what "
        "they point to. `gap` is what nothing in the dump points to."
    ),
    "capture": (
        "An ACTION is `install`, which makes the kernel run the handler when a program crashes, "
        "and keeps what it ran before; `uninstall`, which puts that back; `status`, which exits "
        "with 1 if it is not installed; or `handle`, which is what the kernel runs. Settings are "
        "those of the configuration file, and options come before them: what is given to `install` "
        "is given to the handler, too."
    ),
    "symbolicate": (
        "A REPORT is what unspool stack --format json or unspool capture made, plain or compressed "
        "as .gz, .zst, .xz or .lz4, or - for standard input. Files are found by their ids alone: "
        "with --symbols, on this system, in debuginfod's cache and in the symbol stores of "
        "_NT_SYMBOL_PATH; with --online those that are missing are downloaded there."
    ),
    "patch-check": (
        "A TARGET is what unspool stack takes, but no report. A FUNCTION is a name, with all parts "
        "that the compiler made of it, in every module or as MODULE!NAME; a function of the kernel "
        "as kernel!NAME; or a range of addresses as 0x1000-0x1040. It is safe to replace if no "
        "thread executes it or will return to it. Two methods say so: scanning every word of every "
        "stack, and unwinding."
    ),
    "redzone": (
        "A FILE is an ELF object, program or library, a kernel module (plain or compressed as "
        ".xz, .zst or .gz), or a PE file such as .dll and .sys, of x86-64, i386 or (no PE file) "
        "aarch64. A TARGET is what unspool stack takes, but no report: of each thread it is said "
        "what lies below its stack pointer."
    ),
}

EXAMPLES = {
    "stack": (
        ("unspool core.1234", "every thread, the crashed one first"),
        ("unspool 1234", "a process that runs"),
        ("unspool core.zst --thread crashed", "the crashed thread alone"),
        ("zstdcat core.zst | unspool -", "from a pipe"),
        ("unspool core --symbols dbg/ --sysroot fs/", "of another machine"),
        ("unspool core --format json > report.json", "for programs"),
        ("unspool report.json.gz --format memfault", "for other programs"),
        ("unspool core --explain", "how each frame was found"),
        ("unspool core --analyses all", "deadlocks, broken chains and more"),
    ),
    "dump": (
        ("unspool dump core.1234 -o crash.dmp", "everything that stacks need"),
        ("unspool dump 1234 -o hang.dmp", "of a process that runs"),
        ("unspool dump core.zst -o a.dmp --sanitize", "no strings, keys or numbers"),
        ("unspool dump core -o a.dmp --stack-bytes 9999", "a small one"),
        ("unspool crash.dmp", "the same stacks, elsewhere"),
    ),
    "core2md": (
        ("unspool core2md core /proc/1234 a.dmp", "while the process is still there"),
    ),
    "capture": (
        ("unspool capture install --dry-run", "what would be done"),
        ("unspool capture install --sysctl", "from now on, after a reboot as well"),
        ("unspool capture status", "is it installed, how many reports"),
        ("unspool capture --explain-privacy", "what a report can hold, and does"),
        ("unspool capture uninstall", "as it was before"),
    ),
    "inspect": (
        ("unspool inspect a.dmp | less", "everything, field by field"),
        ("unspool inspect a.dmp --summary", "which streams it has, what is wrong"),
        ("unspool inspect a.dmp --stream Exception", "one stream, and its registers"),
        ("unspool inspect a.dmp --hex | less", "every byte, its field beside it"),
        ("unspool inspect a.dmp --format html > a.html", "a page to click through"),
        ("unspool inspect a.dmp --format json", "for programs"),
    ),
    "patch-check": (
        ("unspool patch-check 1234 handle_request", "of a process that runs"),
        ("unspool patch-check core 'libz!deflate'", "of one library"),
        ("unspool patch-check 1234 0x401000-0x401080", "any code"),
        ("unspool patch-check 1234 --old a --new b", "what differs in a new build"),
        ("unspool patch-check 1234 work --format json", "for programs"),
    ),
    "redzone": (
        ("unspool redzone leaf.o", "which functions use it, and how"),
        ("unspool redzone irq.o --no-red-zone", "of code that must not"),
        ("unspool redzone driver.ko.xz", "a kernel module: it has none"),
        ("unspool redzone driver.sys --format json", "for programs"),
        ("unspool redzone core.1234", "what lies below each stack pointer"),
    ),
    "symbolicate": (
        ("unspool symbolicate r.json --symbols dbg/", "by what is in a directory"),
        ("unspool symbolicate r.json --missing", "which files it lacks, by id"),
        ("unspool symbolicate r.json --online", "download what is missing"),
        ("zcat r.gz | unspool symbolicate -", "from a pipe"),
        ("unspool symbolicate a --format json -o b", "a report with names"),
    ),
    "seh": (
        ("unspool seh core.1234", "every thread's exception chain"),
        ("unspool seh 1234", "of a Wine process that runs"),
        ("unspool seh crash.dmp --thread crashed", "the crashed thread alone"),
        ("unspool seh core --symbols dbg/", "with names from elsewhere"),
        ("unspool seh core --format json", "for programs"),
    ),
    "locks": (
        ("unspool locks 1234", "a process that hangs"),
        ("unspool locks 1234 1250 1251", "several that share memory or files"),
        ("unspool locks core.1 core.2 --verbose", "with the words that say so"),
        ("unspool locks core --format svg > a.svg", "a picture"),
    ),
    "layout": (
        ("unspool layout 1234", "every mapping of a process by name"),
        ("unspool layout core.1234 --all", "and how each name is known"),
        ("unspool layout 1234 --format svg > a.svg", "a picture"),
        ("unspool layout core --reserve-plan", "what to keep free for Windows code"),
    ),
}

EXIT_CODES = (
    (0, "complete"),
    (1, "an answer, but part of it is missing; the report says which part and why"),
    (2, "the input could not be read: one line says what, where and what to try"),
    (64, "usage"),
    (130, "interrupted"),
)

ENVIRONMENT = (
    ("NO_COLOR", "if set, no colours (see --color)"),
    ("TMPDIR", "where compressed cores are unpacked to (sparse, without a name)"),
    ("UNSPOOL_SPOOL_LIMIT", "at most so many bytes for that; 64 GiB if not set"),
    ("XDG_CACHE_HOME", "where symcaches are kept, in unspool/symcache; ~/.cache if not set"),
    ("UNSPOOL_CACHE_LIMIT", "at most so many bytes of them; 2 GiB if not set"),
    ("DEBUGINFOD_URLS", "servers for --online; also DEBUGINFOD_CACHE_PATH and more"),
    ("_NT_SYMBOL_PATH", "stores and servers of Windows symbols, as srv*DIR*https://server"),
    ("UNSPOOL_BREAKPAD_URLS", "servers of Breakpad's symbol files for --online"),
    ("UNSPOOL_TRACEBACK", "if set, an internal error shows Python's traceback"),
)


def overview() -> Iterator[str]:
    """`unspool --help`."""
    yield PURPOSE
    yield ""
    yield "usage: unspool TARGET [options]"
    yield "       unspool COMMAND … [options]"
    yield ""
    yield from wrapped(TARGET, "")
    yield ""
    yield "commands:"
    rows = [(f"{name} {command.operands}", command.summary) for name, command in COMMANDS.items()]
    yield from table(rows)
    yield ""
    yield "Each command explains its options: unspool stack --help"
    yield ""
    yield from _examples("stack")
    yield ""
    yield "exit codes:"
    yield from table([(str(code), meaning) for code, meaning in EXIT_CODES])


def command_help(name: str) -> Iterator[str]:
    """`unspool COMMAND --help`."""
    command = COMMANDS[name]
    yield f"usage: unspool {name} {command.operands} [options]"
    yield ""
    summary = command.summary
    yield from wrapped(f"{summary[0].upper()}{summary[1:]}.", "")
    yield ""
    yield from wrapped(OPERANDS.get(name, TARGET), "")
    yield ""
    yield "options:"
    yield from table([(synopsis(option), describe(option)) for option in options(name)])
    yield ""
    yield from _examples(name)
    yield ""
    yield "exit codes:"
    yield from table([(str(code), meaning) for code, meaning in EXIT_CODES])


def show_help(name: str) -> int:
    """Prints `unspool COMMAND --help`; gives the exit code."""
    from unspool.cli import output

    output.write_lines(map(output.style().fit, command_help(name)))
    return 0


def options(name: str) -> Sequence[Option]:
    """The options of a command."""
    return COMMANDS[name].load().OPTIONS


def synopsis(option: Option) -> str:
    """An option as it is written: `-q, --quiet`, `--format text|json`."""
    value = "|".join(option.choices) or option.value
    return ", ".join(filter(None, (option.short, option.name))) + (value and f" {value}")


def describe(option: Option) -> str:
    """What an option does, with its default."""
    return option.help + (f" (default: {option.default})" if option.default else "")


def _examples(name: str) -> Iterator[str]:
    yield "examples:"
    for example, meaning in EXAMPLES[name]:
        yield f"  {example:<42} {meaning}".rstrip()


def table(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Two columns; a first one that is too wide gets a line of its own."""
    width = min(24, max(len(first) for first, _ in rows))
    for first, second in rows:
        lines = list(wrapped(second, " " * (width + 4)))
        if len(first) <= width:
            lines[0] = f"  {first:{width}}  {lines[0].lstrip()}"
        else:
            lines.insert(0, f"  {first}")
        yield from lines


def wrapped(text: str, indent: str) -> Iterator[str]:
    """A paragraph in lines of at most `WIDTH` characters."""
    line = indent
    for word in text.split(" "):
        if len(line) + len(word) + 1 > WIDTH and line.strip():
            yield line.rstrip()
            line = indent
        line += word + " "
    yield line.rstrip()
