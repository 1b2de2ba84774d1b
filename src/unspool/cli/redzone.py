"""`unspool redzone FILE|TARGET`: what code does below the stack pointer, and what lies there."""

from __future__ import annotations

from unspool.cli.options import COLOR, FORMAT, HELP, QUIET, Option, parse
from unspool.cli.target import TARGET_OPTIONS, open_target, source_of
from unspool.errors import FormatError, InputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from unspool.analyses.redzone import FileUses
    from unspool.cli.options import Arguments
    from unspool.targets.input.source import Source

OPTIONS = (
    FORMAT,
    Option(
        "--no-red-zone",
        "of a FILE: nothing below the stack pointer may be used, as in kernels, interrupt "
        "handlers and code that is signal-safe by its own rules; every use is an error then",
    ),
    Option("--all", "every operand, not just the first and the deepest of each function"),
    Option("--no-lines", "no files and lines, which is faster"),
    *TARGET_OPTIONS,
    COLOR,
    QUIET,
    HELP,
)

_COMMAND = "unspool redzone"
# IMAGE_FILE_MACHINE_AMD64, _I386 and _ARM64; then a number of sections that is small.
_COFF = (b"\x64\x86", b"\x4c\x01", b"\x64\xaa")


def run(argv: list[str]) -> int:
    """Exit code 0 if everything was looked at, whatever was found; 1 if a part is missing."""
    arguments = parse(argv, OPTIONS, _COMMAND)
    if arguments.flag("--help"):
        from unspool.cli.help import show_help

        return show_help("redzone")
    source = source_of(arguments.operands, _COMMAND)
    if isinstance(source, str):
        from unspool.cli.progress import Progress
        from unspool.targets.input.source import open_source

        _refuse_parts(source)
        with Progress(not arguments.flag("--quiet")) as progress:
            opened = open_source(source, progress)
        with opened:
            if _is_code_file(opened):
                return _of_file(opened, arguments)
        if source == "-":
            raise InputError("a target on standard input", "give it as a file, or a process's id")
    return _of_target(source, arguments)


def _refuse_parts(path: str) -> None:
    """Raises `InputError` for files of compilers that are neither linked nor ELF objects."""
    import os

    if not os.path.isfile(path):
        return
    try:
        with open(path, "rb") as file:
            start = file.read(8)
    except OSError:
        return  # who opens it says why
    if start in (b"!<arch>\n", b"!<thin>\n"):
        raise InputError(f"{path} is an archive", f"take its objects out: ar x {path}")
    if start[:2] in _COFF and start[2:8].count(0) < 6 and start[3] < 2:
        raise InputError(f"{path} is a COFF object", "give the PE file that it is linked into")
    if start[:4] == b"BC\xc0\xde":
        raise InputError(f"{path} is LLVM's own code", "give the object that is made of it")


def _is_code_file(source: Source) -> bool:
    """Whether it is no target: an ELF file that is no core, a PE file."""
    from unspool.formats.elf import ET_CORE, Elf
    from unspool.formats.pe import is_pe

    if source.kind == "elf":
        try:
            return Elf(source.buffer).type != ET_CORE
        except FormatError as error:
            raise InputError(
                f"{source.name}: broken ELF file ({error})", "is it whole? build or copy it again"
            ) from None
    return is_pe(source.buffer)


def _of_file(source: Source, arguments: Arguments) -> int:
    from unspool.analyses.redzone import file_uses
    from unspool.targets.base import Options

    # Lines are read from a file by its path; there is none of what has been unpacked.
    plain = not source.compression and source.path != "-"
    result = file_uses(
        source.buffer,
        source.path if plain else source.name,
        Options(symbols=arguments.texts("--symbols"), sysroot=arguments.text("--sysroot")),
        no_red_zone=arguments.flag("--no-red-zone"),
        lines=plain and not arguments.flag("--no-lines"),
    )
    if source.truncated:
        result.problems.append(source.truncated)
    _show_file(result, arguments)
    return 1 if result.problems else 0


def _show_file(result: FileUses, arguments: Arguments) -> None:
    from unspool.cli import output

    if arguments.text("--format") == "json":
        from unspool.render.redzone_json import file_text

        output.write([file_text(result)])
        return
    from unspool.render.redzone_text import file_lines

    style = output.style(arguments.text("--color") or "auto")
    output.write_lines(file_lines(result, style=style, whole=arguments.flag("--all")))


def _of_target(source: str | int, arguments: Arguments) -> int:
    from unspool import api
    from unspool.analyses.redzone import zone_findings
    from unspool.cli import output
    from unspool.cli.progress import Progress

    with (
        Progress(not arguments.flag("--quiet")) as progress,
        open_target(source, arguments, progress) as target,
    ):
        zones = api.redzone(target)
        found = [*zone_findings(zones), *target.findings]
        if arguments.text("--format") == "json":
            from unspool.render.redzone_json import target_text

            output.write([target_text(target.info, zones, found)])
        else:
            from unspool.render.redzone_text import target_lines

            style = output.style(arguments.text("--color") or "auto")
            output.write_lines(target_lines(target.info, zones, target.findings, style=style))
    return 1 if any(each.incomplete for each in found) else 0
