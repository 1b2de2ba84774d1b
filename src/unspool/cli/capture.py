"""`unspool capture ACTION`: the kernel's core handler, and its installation."""

from __future__ import annotations

from unspool.capture.config import PATH, SETTINGS
from unspool.cli.options import HELP, Option, parse
from unspool.errors import InputError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from unspool.capture.config import Config, Setting, Value
    from unspool.capture.install import Step
    from unspool.cli.options import Arguments

_COMMAND = "unspool capture"


def _option(setting: Setting) -> Option:
    default = setting.default
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    choices = ("true", "false") if isinstance(default, bool) else setting.choices
    value = "N" if isinstance(default, int) else "PATH"
    return Option(
        setting.option, setting.help, value="WHAT" if choices else value, choices=choices,
        default=shown,
    )  # fmt: skip


OPTIONS = (
    Option("--config", "the file with the settings", value="FILE", default=PATH),
    *(_option(setting) for setting in SETTINGS),
    Option("--explain-privacy", "what a report can hold, and what of it the settings let in"),
    Option(
        "--program",
        "install: what the kernel shall run, if that is not this very program",
        value="FILE",
    ),
    Option("--sysctl", "install: keep the setting over the next boot, in /etc/sysctl.d"),
    Option("--dry-run", "install and uninstall: say what would be done, and do nothing"),
    Option("--force", "install and uninstall: in spite of what speaks against it"),
    HELP,
)


def run(argv: list[str]) -> int:
    """Exit code 0 if all is well; of `handle` 1 if a part of the report is missing, 2 if all is."""
    arguments = parse(_front(argv), OPTIONS, _COMMAND)
    if arguments.flag("--help"):
        from unspool.cli.help import show_help

        return show_help("capture")
    operands = arguments.operands
    if arguments.flag("--explain-privacy"):
        return _explain(arguments)
    if not operands:
        raise UsageError("no ACTION", f"one of {', '.join(_ACTIONS)}; see {_COMMAND} --help")
    action = _ACTIONS.get(operands[0])
    if action is None:
        raise UsageError(f"{operands[0]}: no action", f"one of {', '.join(_ACTIONS)}")
    if operands[0] != "handle" and len(operands) > 1:
        raise UsageError(f"{operands[1]}: too much", f"see {_COMMAND} --help")
    return action(arguments)


def _front(argv: list[str]) -> list[str]:
    """The arguments with `--` before what the kernel adds to `handle`.

    A program's name may begin with a dash: that of a login shell is `-bash`.
    """
    with_value = {option.name for option in OPTIONS if option.value}
    words = iter(enumerate(argv))
    handling = False
    for index, word in words:
        if word == "--":
            break
        if word.startswith("-"):
            if word in with_value:
                next(words, None)
        elif handling:
            return [*argv[:index], "--", *argv[index:]]
        elif word == "handle":
            handling = True
        else:
            break
    return argv


def _config(arguments: Arguments) -> Config:
    """The settings. Raises `InputError` or `UsageError`."""
    from unspool.capture.config import Config, load

    return Config({**load(arguments.text("--config")), **_given(arguments)})


def _present(arguments: Arguments) -> Config:
    """The settings that the installed handler has, else those that it would have.

    Its options are in core_pattern. What is given here counts more. Raises as `_config`.
    """
    from unspool.capture.config import Config, load
    from unspool.capture.install import installed_options
    from unspool.cli.options import Arguments

    try:
        installed = parse(installed_options(), OPTIONS, _COMMAND)
        values = _given(installed)
    except (UsageError, InputError):
        installed, values = Arguments(), {}  # of another version, or there is no /proc/sys
    file = arguments.text("--config") or installed.text("--config")
    return Config({**load(file), **values, **_given(arguments)})


def _given(arguments: Arguments) -> dict[str, Value]:
    from unspool.capture.config import from_text

    values = {}
    for setting in SETTINGS:
        text = arguments.text(setting.option)
        if text is not None:
            try:
                values[setting.key] = from_text(setting, text)
            except ValueError as error:
                raise UsageError(f"{setting.option} {text}: {error}") from None
    return values


def _handle(arguments: Arguments) -> int:
    from unspool.capture.config import Config
    from unspool.capture.crash import KernelCrash
    from unspool.capture.handle import handle

    crash = KernelCrash(arguments.operands[1:])
    try:
        config = _config(arguments)
    except InputError as error:
        # A crash is not lost for a comma that is missing.
        config = Config(_given(arguments))
        config.most_private(error.message)
    return handle(crash, config)


def _explain(arguments: Arguments) -> int:
    from unspool.capture.classes import explain
    from unspool.cli import output

    output.write_lines(map(output.style().fit, explain(_present(arguments))))
    return 0


def _install(arguments: Arguments) -> int:
    from unspool.capture import install

    config = _config(arguments)
    settings: Sequence[str] = ()
    if arguments.text("--config") is not None:
        settings = ("--config", str(arguments.text("--config")))
    plan = install.plan_install(
        arguments.text("--program"), config,
        options=[*settings, *_as_options(arguments)],
        sysctl=arguments.flag("--sysctl"), force=arguments.flag("--force"),
    )  # fmt: skip
    return _carry_out(plan, arguments)


def _as_options(arguments: Arguments) -> list[str]:
    """The settings that were given as options: the handler is to be given them, too."""
    return [
        f"{setting.option}={arguments.text(setting.option)}"
        for setting in SETTINGS
        if arguments.text(setting.option) is not None
    ]


def _uninstall(arguments: Arguments) -> int:
    from unspool.capture import install

    return _carry_out(install.plan_uninstall(force=arguments.flag("--force")), arguments)


def _carry_out(plan: Sequence[Step], arguments: Arguments) -> int:
    from unspool.cli import output

    for step in plan:
        if not arguments.flag("--dry-run"):
            step.do()
        output.write_lines([output.style().fit(step.words)])
    return 0


def _status(arguments: Arguments) -> int:
    from unspool.capture.install import status
    from unspool.cli import output

    installed, lines = status(_present(arguments))
    output.write_lines(map(output.style().fit, lines))
    return 0 if installed else 1


_ACTIONS: dict[str, Callable[[Arguments], int]] = {
    "handle": _handle,
    "install": _install,
    "uninstall": _uninstall,
    "status": _status,
}
