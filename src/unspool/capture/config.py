"""The settings of `unspool capture`: one TOML file, each also an option. See docs/capture.md."""

from __future__ import annotations

import os
import stat

from unspool.errors import InputError
from unspool.render import FORMS, any_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PATH = "/etc/unspool/capture.toml"

_MAX_FILE = 1 << 20
_MOST = 1 << 40

IN, HASHED, OUT = "in", "hashed", "out"
_POLICY = (IN, HASHED, OUT)

Value = str | int | bool


class Setting:
    """A setting: `section` and `key` in the file, `--key` as an option; its default and range."""

    __slots__ = ("choices", "default", "help", "key", "least", "section")

    def __init__(
        self,
        section: str,
        key: str,
        default: Value,
        help: str,
        *,
        choices: tuple[str, ...] = (),
        least: int = 0,
    ) -> None:
        self.section = section
        self.key = key
        self.default = default
        self.help = help
        self.choices = choices
        self.least = least

    @property
    def option(self) -> str:
        return "--" + self.key.replace("_", "-")

    def check(self, value: object) -> str | None:
        """What is wrong with a value, in words; None if nothing is."""
        if self.choices:
            if value not in self.choices:
                return f"it is {', '.join(self.choices[:-1])} or {self.choices[-1]}"
        elif type(value) is not type(self.default):
            return f"it is {_KINDS[type(self.default)]}"
        elif isinstance(value, int) and not self.least <= value <= _MOST:
            return f"it is at least {self.least}"
        elif isinstance(value, str) and (not value.startswith("/") or "\0" in value):
            return "it is an absolute path"
        return None


_KINDS = {int: "a whole number", bool: "true or false", str: "a text"}

SETTINGS = (
    Setting("spool", "directory", "/var/lib/unspool/spool", "where reports are written to"),
    Setting("spool", "quota_mb", 100, "all of them together take at most so many MB", least=1),
    Setting("spool", "free_mb", 200, "so many MB stay free on their file system"),
    Setting(
        "spool", "users_may_read", False,
        "whether users can open the reports of their own programs; setuid programs' never",
    ),
    Setting("limits", "seconds", 10, "at most so long; then a report of what is known", least=1),
    Setting("limits", "memory_mb", 256, "at most so much memory for data", least=32),
    Setting("limits", "max_frames", 600_000, "at most so many frames of all threads", least=1),
    Setting("limits", "rate_count", 10, "so many reports of one executable, 0 is any number, …"),
    Setting("limits", "rate_seconds", 600, "… in so many seconds", least=1),
    Setting("limits", "at_once", 8, "the kernel runs at most so many handlers at once", least=1),
    Setting(
        "report", "format", "json", f"what is written: {any_of([*FORMS.values()])}",
        choices=tuple(FORMS),
    ),
    Setting(
        "report", "minidump", "none",
        "a minidump beside each report: `sanitized` blanks all data but pointers, `full` holds "
        "the stacks as they are",
        choices=("none", "sanitized", "full"),
    ),
    Setting("report", "log", "/dev/log", "the socket of syslog or the journal, told of each crash"),
    Setting("privacy", "arguments", OUT, "the command line", choices=_POLICY),
    Setting("privacy", "environment", OUT, "variables of the environment", choices=_POLICY),
    Setting("privacy", "paths", IN, "paths of the program and of its libraries", choices=_POLICY),
    Setting("privacy", "module_names", IN, "file names of these, without folders", choices=_POLICY),
    Setting("privacy", "thread_names", IN, "names of threads", choices=_POLICY),
    Setting(
        "privacy", "code_names", OUT,
        "functions of WebAssembly, Java, JavaScript and other code that programs make: their "
        "names are in the process's memory alone",
        choices=_POLICY,
    ),
    Setting("privacy", "host_name", OUT, "the device's name", choices=_POLICY),
    Setting("privacy", "user", IN, "ids of the user and the group", choices=_POLICY),
    Setting(
        "privacy", "system", IN, "versions of kernel and distribution, the processor",
        choices=(IN, OUT),
    ),
    Setting("privacy", "fault_address", IN, "the address of the fault", choices=(IN, OUT)),
    Setting(
        "privacy", "salt_file", "/var/lib/unspool/salt",
        "a secret of this device that hashes are made with; it is made when first needed",
    ),
)  # fmt: skip
BY_KEY = {setting.key: setting for setting in SETTINGS}


class Config:
    """The value of each setting. `problem` is what was wrong with the file, if anything was."""

    def __init__(self, values: Mapping[str, Value] | None = None) -> None:
        self._values: dict[str, Value] = {each.key: each.default for each in SETTINGS}
        self._values.update(values or {})
        self.problem = ""

    def text(self, key: str) -> str:
        return str(self._values[key])

    def number(self, key: str) -> int:
        return int(self._values[key])

    def flag(self, key: str) -> bool:
        return bool(self._values[key])

    def most_private(self, problem: str) -> None:
        """Leaves everything out that can be: nobody knows what a broken file wanted to hide."""
        self.problem = problem
        self._values["minidump"] = "none"
        for setting in SETTINGS:
            if setting.section == "privacy" and setting.choices:
                self._values[setting.key] = OUT


def load(path: str | None) -> dict[str, Value]:
    """The values that a file sets; of the default one, if there is none, none.

    Raises `InputError` in one line that names the file, the key and what is wrong.
    """
    named = path or PATH
    try:
        # A pipe would hold the handler, and with it the crashed process.
        if stat.S_ISFIFO(os.stat(named).st_mode):
            raise InputError(f"{named} is a pipe", "give a TOML file, see docs/capture.md")
        with open(named, "rb") as file:
            data = file.read(_MAX_FILE)
    except OSError as error:
        if path is None and isinstance(error, FileNotFoundError):
            return {}
        raise InputError(f"{named} cannot be read: {error.strerror}") from None
    import tomllib

    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{named}: {error}", "it is a TOML file, see docs/capture.md") from None
    return dict(_values(named, document))


def _values(path: str, document: Mapping[str, object]) -> list[tuple[str, Value]]:
    found: list[tuple[str, Value]] = []
    sections = {setting.section for setting in SETTINGS}
    for section, table in document.items():
        if section not in sections or not isinstance(table, dict):
            raise InputError(
                f"{path}: there is no section {_shown(section)}",
                f"sections are {', '.join(sorted(sections))}",
            )
        for key, value in table.items():
            setting = BY_KEY.get(key)
            if setting is None or setting.section != section:
                raise InputError(f"{path}: there is no setting {section}.{_shown(key)}", _near(key))
            problem = setting.check(value)
            if problem is not None:
                raise InputError(f"{path}: {section}.{key} is {_shown(value)}: {problem}")
            found.append((key, value))
    return found


def _near(key: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(key, BY_KEY, 1)
    if near:
        return f"did you mean {BY_KEY[near[0]].section}.{near[0]}?"
    return "docs/capture.md lists the settings"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def from_text(setting: Setting, text: str) -> Value:
    """The value that an option's text stands for. Raises `ValueError` in words."""
    value: Value = text
    if isinstance(setting.default, bool):
        value = {"true": True, "false": False}.get(text, text)
    elif isinstance(setting.default, int) and text.isascii() and text.isdecimal():
        value = int(text[:18])
    problem = setting.check(value)
    if problem is not None:
        raise ValueError(problem)
    return value


def example() -> str:
    """A file with all settings at their defaults, each explained."""
    lines = []
    section = ""
    for setting in SETTINGS:
        if setting.section != section:
            section = setting.section
            lines += ["", f"[{section}]"]
        choices = f" ({', '.join(setting.choices)})" if setting.choices else ""
        value = setting.default
        shown = str(value).lower() if isinstance(value, int) else f'"{value}"'
        lines.append(f"{setting.key} = {shown}  # {setting.help}{choices}")
    return "\n".join(lines[1:]) + "\n"
