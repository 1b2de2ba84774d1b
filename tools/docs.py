"""Writes the parts of the documentation that the code knows best.

    python tools/docs.py            writes them anew
    python tools/docs.py --check    says what would change, and ends with 1 if anything does

A generated part lies between `<!-- generated: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
RENDER = ROOT / "src" / "unspool" / "render"
GOLDEN = ROOT / "tests" / "golden"
sys.path.insert(0, str(ROOT / "src"))

START, END = "<!-- generated: {} -->\n", "<!-- end -->"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def commands() -> str:
    from unspool.cli.commands import COMMANDS

    rows = [
        (f"`unspool {cell(f'{name} {command.operands}')}`", cell(command.summary))
        for name, command in COMMANDS.items()
    ]
    return table(("command", "does"), rows)


def options(command: str) -> str:
    from unspool.cli import help

    rows = [
        (f"`{cell(help.synopsis(option))}`", cell(help.describe(option)))
        for option in help.options(command)
    ]
    return table(("option", "does"), rows)


def examples(command: str) -> str:
    from unspool.cli import help

    rows = [(f"`{cell(line)}`", cell(meaning)) for line, meaning in help.EXAMPLES[command]]
    return table(("command", ""), rows)


def exit_codes() -> str:
    from unspool.cli import help

    return table(("code", "means"), [(str(code), cell(text)) for code, text in help.EXIT_CODES])


def environment() -> str:
    from unspool.cli import help

    return table(("variable", "does"), [(f"`{name}`", text) for name, text in help.ENVIRONMENT])


def keys(name: str) -> str:
    """The tables of a document's keys, from its schema."""
    schema = json.loads((RENDER / name).read_text("utf-8"))
    parts = [keys_of({**schema, "title": "the document", "description": ""}, schema)]
    parts += [keys_of(part, schema) for part in schema["$defs"].values() if "properties" in part]
    return "\n".join(parts)


def keys_of(part: dict[str, object], schema: dict[str, object]) -> str:
    required = part.get("required", ())
    rows = [
        (f"`{name}`{'*' if name in required else ''}", type_of(value), meaning(value, schema))
        for name, value in part["properties"].items()  # type: ignore[attr-defined]
    ]
    description = f"{part['description']}\n\n" if part["description"] else ""
    return f"### {part['title']}\n\n{description}{table(('key', 'type', 'is'), rows)}"


def type_of(value: dict[str, object]) -> str:
    if "const" in value:
        return "string"
    reference = str(value.get("$ref", "")).rpartition("/")[2]
    if reference:
        return {"maybe_text": "string", "maybe_address": "address", "maybe_index": "integer",
                "index": "integer", "address": "address", "count": "integer",
                "number": "integer or string"}.get(reference, "object")  # fmt: skip
    kind = value["type"]
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "array":
        items = value["items"]
        assert isinstance(items, dict)
        kind = type_of(items)
        return f"list of {kind.replace('list', 'lists', 1) if kind[:4] == 'list' else f'{kind}s'}"
    return str(kind)


def meaning(value: dict[str, object], schema: dict[str, object]) -> str:
    if "description" in value:
        return str(value["description"])
    definitions = schema["$defs"]
    assert isinstance(definitions, dict)
    return str(definitions[str(value["$ref"]).rpartition("/")[2]]["description"])


def report_example() -> str:
    """A whole report, as it is printed."""
    return golden_json("crash.json")


def golden_json(name: str) -> str:
    return f"```json\n{(GOLDEN / name).read_text('utf-8')}```\n"


def text_example() -> str:
    return f"```\n{(GOLDEN / 'crash.txt').read_text('utf-8')}```\n"


def inspect_example(name: str, start: str = "", lines: int = 1000) -> str:
    """So many lines of what `unspool inspect` prints, from the one that begins so."""
    text = (GOLDEN / f"inspect.{name}.txt").read_text("utf-8")
    at = 0 if text.startswith(start) else text.index(f"\n{start}") + 1
    return "```\n" + "".join(text[at:].splitlines(keepends=True)[:lines]) + "```\n"


def capture_settings() -> str:
    from unspool.capture.config import SETTINGS

    rows = []
    for each in SETTINGS:
        default = str(each.default).lower() if isinstance(each.default, int) else each.default
        choices = f" ({', '.join(each.choices)})" if each.choices else ""
        rows.append((f"`{each.section}.{each.key}`", f"`{default}`", each.help + choices))
    return table(("setting", "default", "is"), rows)


def capture_classes() -> str:
    from unspool.capture.classes import CLASSES, NEVER
    from unspool.capture.config import BY_KEY

    rows = []
    for each in CLASSES:
        default = str(BY_KEY[each.setting].default) if each.setting else each.always
        setting = f"`privacy.{each.setting}`" if each.setting else ""
        keys = ", ".join(f"`{key}`" for key in each.keys)
        rows.append((each.name, default, setting, keys))
    rows += [(name, what, "", "") for name, what in NEVER]
    return table(("class", "default", "setting", "keys"), rows)


def measured() -> str:
    """What `make bench` found beside the peers, and every miss, of bench/README.md."""
    results = (ROOT / "bench" / "README.md").read_text("utf-8").partition("### Goals")
    machine = results[0].rpartition("Measured on ")[2].partition("\n")[0]
    lines = [line for line in results[2].partition("###")[0].splitlines() if line.startswith("| ")]
    rows = [tuple(each.strip() for each in line.strip("|").split("|")) for line in lines[1:]]
    if not rows:
        return "Not measured yet: run `make bench`.\n"
    shown = [row for row in rows if len(row) == 4 and ("miss" in row[3] or is_comparison(row))]
    text = table(("work", "measured", "goal", ""), shown)
    return f"{text}\nMeasured on {machine}\n"


def is_comparison(row: tuple[str, ...]) -> bool:
    """Whether a row has a goal beside another program."""
    _, found, goal, _ = row
    return "× " in found and "as long" not in found and "unspool" not in found and "≤" in goal


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "options of stack": lambda: options("stack"),
    "examples of stack": lambda: examples("stack"),
    "options of dump": lambda: options("dump"),
    "examples of dump": lambda: examples("dump"),
    "exit codes": exit_codes,
    "environment": environment,
    "keys": lambda: keys("report-1.schema.json"),
    "report": report_example,
    "text": text_example,
    "memfault": lambda: golden_json("crash.memfault.json"),
    "minidump-stackwalk": lambda: golden_json("crash.stackwalk.json"),
    "measured": measured,
    "options of inspect": lambda: options("inspect"),
    "examples of inspect": lambda: examples("inspect"),
    "examples of capture": lambda: examples("capture"),
    "settings of capture": capture_settings,
    "classes of capture": capture_classes,
    "inspect summary": lambda: inspect_example("windows", lines=16),
    "inspect problems": lambda: inspect_example("lying", "9 problems", 10),
    "inspect fields": lambda: inspect_example("windows.exception"),
    "inspect hex": lambda: inspect_example("crash.hex", "ModuleListStream", 16),
    "options of layout": lambda: options("layout"),
    "examples of layout": lambda: examples("layout"),
    "layout keys": lambda: keys("layout-1.schema.json"),
    "options of locks": lambda: options("locks"),
    "examples of locks": lambda: examples("locks"),
    "options of symbolicate": lambda: options("symbolicate"),
    "examples of symbolicate": lambda: examples("symbolicate"),
    "locks keys": lambda: keys("locks-1.schema.json"),
    "inspect keys": lambda: keys("inspect-1.schema.json"),
    "options of patch-check": lambda: options("patch-check"),
    "examples of patch-check": lambda: examples("patch-check"),
    "patch-check keys": lambda: keys("patch-check-1.schema.json"),
    "options of redzone": lambda: options("redzone"),
    "examples of redzone": lambda: examples("redzone"),
    "redzone keys": lambda: keys("redzone-1.schema.json"),
    "options of seh": lambda: options("seh"),
    "examples of seh": lambda: examples("seh"),
    "broken chain": lambda: f"```\n{(GOLDEN / 'seh.broken.txt').read_text('utf-8')}```\n",
    "seh keys": lambda: keys("seh-1.schema.json"),
    "missing keys": lambda: keys("missing-1.schema.json"),
}


def filled(text: str) -> str:
    """A document with its generated parts as they should be."""
    for name, part in PARTS.items():
        start = START.format(name)
        before, found, rest = text.partition(start)
        if found:
            _, end, after = rest.partition(END)
            if not end:
                raise ValueError(f"the part {name} has no end")
            text = f"{before}{start}{part()}{end}{after}"
    return text


def main(arguments: list[str]) -> int:
    check = arguments == ["--check"]
    changed = 0
    for path in sorted({*ROOT.glob("*.md"), *DOCS.rglob("*.md")}):
        old = path.read_text("utf-8")
        new = filled(old)
        if new != old:
            changed += 1
            print(f"{path.relative_to(ROOT)} {'is out of step' if check else 'written'}")
            if not check:
                path.write_text(new, "utf-8")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
