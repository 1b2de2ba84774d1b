"""Options of commands as tables, and the parser that reads a command line by them.

Not argparse: importing it takes 8 to 10 ms, a third of what a small core may cost
(docs/decisions/0009-options-without-argparse.md), and tables serve the help and the manual as well.
"""

from __future__ import annotations

from unspool.errors import UsageError
from unspool.render import FORMS, any_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Option:
    """One option. `value` is its value's name in the help, "" for one that takes none.

    `choices` limits the values, `number` says that they are whole numbers, `many` that the
    option may be repeated. `default` is for the help only.
    """

    __slots__ = ("choices", "default", "help", "many", "name", "number", "short", "value")

    def __init__(
        self,
        name: str,
        help: str,
        *,
        short: str = "",
        value: str = "",
        choices: Sequence[str] = (),
        number: bool = False,
        many: bool = False,
        default: str = "",
    ) -> None:
        self.name = name
        self.help = help
        self.short = short
        self.value = value
        self.choices = choices
        self.number = number
        self.many = many
        self.default = default


HELP = Option("--help", "show this and exit", short="-h")
QUIET = Option("--quiet", "no progress", short="-q")
FORMAT = Option(
    "--format", "what to print", value="FORMAT", choices=("text", "json"), default="text"
)
REPORT_FORMAT = Option(
    "--format",
    f"what to print: {any_of(['text', *FORMS.values()])}",
    value="FORMAT",
    choices=("text", *FORMS),
    default="text",
)
COLOR = Option(
    "--color",
    "colours in text; `auto` is on a terminal, unless NO_COLOR is set",
    value="WHEN",
    choices=("auto", "always", "never"),
    default="auto",
)


class Arguments:
    """A command line that has been read."""

    def __init__(self) -> None:
        self.operands: list[str] = []
        self._values: dict[str, list[str]] = {}

    def add(self, name: str, value: str) -> None:
        self._values.setdefault(name, []).append(value)

    def flag(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str) -> str | None:
        """The value of the last such option."""
        values = self._values.get(name)
        return values[-1] if values else None

    def texts(self, name: str) -> list[str]:
        """The values of all such options, in order."""
        return self._values.get(name, [])

    def number(self, name: str, default: int) -> int:
        text = self.text(name)
        return default if text is None else int(text)


def parse(argv: Sequence[str], options: Sequence[Option], command: str) -> Arguments:
    """Reads the arguments of a command. Raises `UsageError` with the option to blame.

    Options and operands may come in any order; `--` ends the options, `-` is an operand.
    """
    parser = _Parser(options, command)
    rest = list(reversed(argv))
    while rest:
        word = rest.pop()
        if word == "--":
            parser.result.operands += reversed(rest)
            break
        if word.startswith("--"):
            parser.long(word, rest)
        elif word.startswith("-") and word != "-":
            parser.shorts(word, rest)
        else:
            parser.result.operands.append(word)
    return parser.result


class _Parser:
    def __init__(self, options: Sequence[Option], command: str) -> None:
        self.by_name = {option.name: option for option in options}
        self.by_short = {option.short: option for option in options if option.short}
        self.command = command
        self.result = Arguments()

    def long(self, word: str, rest: list[str]) -> None:
        name, equals, value = word.partition("=")
        option = self.by_name.get(name)
        if option is None:
            raise self.unknown(name)
        if not option.value:
            if equals:
                raise self.wrong(f"{name} takes no value")
            self.result.add(name, "")
        else:
            self.take(option, name, value if equals else None, rest)

    def shorts(self, word: str, rest: list[str]) -> None:
        for index in range(1, len(word)):
            name = f"-{word[index]}"
            option = self.by_short.get(name)
            if option is None:
                raise self.unknown(name if len(word) == 2 else word)
            if option.value:
                self.take(option, name, word[index + 1 :] or None, rest)
                return
            self.result.add(option.name, "")

    def take(self, option: Option, name: str, value: str | None, rest: list[str]) -> None:
        if value is None:
            if not rest:
                raise self.wrong(f"{name} needs a value: {option.value}")
            value = rest.pop()
        if option.choices and value not in option.choices:
            *most, last = option.choices
            raise self.wrong(f"{name} {value}: it is {', '.join(most)} or {last}")
        # More digits than these are no number of anything, and slow to read.
        if option.number and not (value.isascii() and value.isdecimal() and len(value) <= 18):
            raise self.wrong(f"{name} {value}: a whole number was expected")
        self.result.add(option.name, value)

    def unknown(self, name: str) -> UsageError:
        from difflib import get_close_matches

        near = get_close_matches(name, self.by_name, 1)
        hint = f"did you mean {near[0]}?" if near else f"see {self.command} --help"
        return UsageError(f"unknown option {name}", hint)

    def wrong(self, message: str) -> UsageError:
        return UsageError(message, f"see {self.command} --help")
