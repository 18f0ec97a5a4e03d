"""How help pages look: the same under every Python, and in Chinese for who reads Chinese, two columns a character."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import Any

from shuyuan.base.chinese import labelled, language, word
from shuyuan.base.progress import width_of

_COMMENTED = re.compile(r"(\s*\S.*?\s{3,})(\S.*)")
_PIECES = re.compile(r"\s+|[（“《]*(?:[≥≤<>] [!-~]+|[!-~]+|\S)[，。；：？！、）”》…]*")  # never broken


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Help that looks the same under every Python."""

    def __init__(self, prog: str, **given: Any) -> None:
        super().__init__(prog, **{**given, "max_help_position": 26})

    def add_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None) -> None:
        """The first line, under its heading in the reader's language."""
        super().add_usage(usage, actions, groups, labelled("usage", "") if prefix is None else prefix)

    def start_section(self, heading: str | None) -> None:
        """Begin a group of flags."""
        super().start_section(word(heading or ""))

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return str(action.metavar)
        value = f"{{{','.join(map(str, action.choices))}}}" if action.choices else str(action.metavar or "")
        several = " …" if action.nargs == "+" else ""
        flags = ", ".join(flag for flag in action.option_strings if not flag.startswith("--no-"))
        return flags if action.nargs == 0 else f"{flags} {value}{several}"

    def _split_lines(self, text: str, width: int) -> list[str]:
        return [*wrapped(text, width)] if language() == "zh" else super()._split_lines(text, width)


def wrapped(text: str, columns: int) -> Iterator[str]:
    """Lines of at most so many columns, broken between Chinese characters and between words."""
    line = ""
    for piece in _PIECES.findall(" ".join(text.split())):
        if line and width_of(line + piece.rstrip()) > columns:
            yield line.rstrip()
            line = ""
        line += piece if line else piece.lstrip()
    yield line.rstrip()


def sentence(line: str) -> str:
    """The one line of a command or a way, as a sentence."""
    said = word(line)
    return said + ("。" if language() == "zh" else ".") * (said[-1:] not in "？?。")


def explained(text: str) -> str:
    """Lines of commands with a note behind them, and headings, in the reader's language; the commands stay."""
    return "\n".join(map(_explained, text.split("\n")))


def _explained(line: str) -> str:
    if found := _COMMENTED.fullmatch(line):
        return found[1] + word(found[2])
    return line if line.startswith(" ") else word(line)
