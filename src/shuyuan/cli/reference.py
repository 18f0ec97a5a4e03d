"""Write the reference pages, docs/commands.md and docs/zh/commands.md, from the commands and settings themselves."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import get_args, get_origin

from pydantic.fields import FieldInfo

from shuyuan.base import shelf
from shuyuan.base.chinese import word
from shuyuan.base.progress import say
from shuyuan.base.settings import Settings, bounds
from shuyuan.cli.helping import sentence
from shuyuan.cli.main import command_parser, overview, spoken

ROOMS = ("read", "prepare", "load", "measure", "train", "store", "recall", "teach", "examine")
_WORDS = {
    "en": {
        "title": "Commands and settings",
        "note": "Drawn from the program by `make reference`; a test checks that it is current. Do not edit it.",
        "commands": "Commands",
        "settings": "Settings, room by room",
        "table": "| setting | default | bounds | what it is |",
        "none": "No settings.",
    },
    "zh": {
        "title": "命令与设置",
        "note": "本页由 `make reference` 从程序本身生成，并有测试保证其为最新，请勿手工修改。",
        "commands": "命令",
        "settings": "各室的设置",
        "table": "| 设置 | 默认值 | 范围 | 含义 |",
        "none": "没有设置。",
    },
}


def page(language: str) -> str:
    """The whole reference page, Markdown, in one language."""
    before = os.environ.get("SHUYUAN_LANG", "")
    os.environ["SHUYUAN_LANG"] = language
    try:
        return _page(_WORDS[language])
    finally:
        os.environ["SHUYUAN_LANG"] = before


def _page(words: dict[str, str]) -> str:
    parts = [f"# {words['title']}", words["note"], f"## {words['commands']}", _block(overview())]
    for name in shelf.choices("cli"):
        parts += [f"### shuyuan {spoken(name)}", _block(_help(name))]
    parts.append(f"## {words['settings']}")
    for room in ROOMS:
        if shelf.choices(room):
            parts.append(f"### {room}")
        for name, line in shelf.choices(room).items():
            parts += [f"#### {room} · {name}", sentence(line), _table(shelf.choose(room, name), words)]
    return "\n\n".join(parts) + "\n"


def _help(name: str) -> str:
    parser, _, _ = command_parser(name)
    return parser.format_help()


def _block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"


def _table(kind: type[Settings], words: dict[str, str]) -> str:
    if not kind.model_fields:
        return words["none"]
    rows = [words["table"], "|---|---|---|---|"]
    for name, info in kind.model_fields.items():
        cells = (f"`{name.rstrip('_')}`", _default(info), _limits(info), word(info.description or ""))
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows)


def _default(info: FieldInfo) -> str:
    return "" if info.is_required() or info.default in ("", None, ()) else f"`{info.default}`"


def _limits(info: FieldInfo) -> str:
    if get_origin(info.annotation) is not None and all(isinstance(one, str) for one in get_args(info.annotation)):
        return ", ".join(get_args(info.annotation))
    return bounds(info)


def main() -> int:
    """Write both pages below the current folder, which must be a checkout."""
    os.environ["COLUMNS"] = "100"  # argparse wraps to the terminal
    for language, name in (("en", "docs/commands.md"), ("zh", "docs/zh/commands.md")):
        Path(name).write_text(page(language), encoding="utf-8")
        say(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
