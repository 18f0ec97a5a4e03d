"""The front door: find the command, read its flags, run it, and say plainly what went wrong."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from shuyuan import __version__
from shuyuan.base import shelf
from shuyuan.base.chinese import word
from shuyuan.base.errors import Fixable, disk_errors, near_miss
from shuyuan.base.progress import say
from shuyuan.cli.helping import Formatter, explained, sentence

ABOUT = """\
Shuyuan (书院): teach a model your own material by every route, and let one exam say which of them worked.

examples:
  shuyuan new school && cd school                 a folder for one subject
  shuyuan add ~/handbook --questions quiz.jsonl   read documents, and questions to be examined on
  shuyuan teach retrieve                          give the model a library to look things up in
  shuyuan teach lora                              train a small adapter instead
  shuyuan ask "How long may I be away?"           answered with its place in the documents
  shuyuan exam                                    every assistant sits the same paper; one page shows the evidence
"""
SHARED = """\
everywhere:
  -w, --workspace DIR   the folder to work in (default: $SHUYUAN_WORKSPACE, or the current folder)
  --debug               show the traceback of an error
  --version             print the version
  --help                explain a command: shuyuan teach --help, shuyuan teach lora --help
"""


class Usage(Fixable):
    """The line that was typed cannot be understood."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors look like all other errors."""

    def format_help(self) -> str:
        """The whole page, with Chinese colons behind Chinese headings."""
        return re.sub(r"(?m)^(\S.*[\u4e00-\u9fff]):$", r"\1：", super().format_help())

    def error(self, message: str) -> NoReturn:
        """Raise `Usage` where argparse would print and exit."""
        raise Usage(message, f"see: {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns 0 done, 1 it could not be done, 2 it was not understood, 130 stopped by Ctrl-C."""
    argv = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that is not UTF-8 must not end a long run
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        say("\nstopped; the same command goes on from what is finished")
        return 130
    except BrokenPipeError:  # the reader (`| head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except Exception as error:
        return _explain(error, debug="--debug" in argv)
    return code


def _explain(error: Exception, debug: bool) -> int:
    """Say what happened and what to do; the exit code is 2 for a line that was not understood, else 1."""
    if debug:
        traceback.print_exception(error)
    if isinstance(error, Fixable):
        say(str(error))
    else:
        say(f"this should not have happened: {type(error).__name__}: {error}")
        say("hint: run it again with --debug and report what it prints")
    return 2 if isinstance(error, Usage) else 1


def _run(argv: list[str]) -> int:
    at = _first_word(argv)
    if at == len(argv):
        if "--version" in argv:
            print(f"shuyuan {__version__}")
        else:
            Parser(prog="shuyuan", add_help=False, parents=[_shared()]).parse_args(argv)
            print(overview(), end="")
        return 0
    name, rest = split_command(argv)
    try:
        parser, kind, way = command_parser(name, rest)
        if {"-h", "--help"} & set(rest):
            print(parser.format_help(), end="")
            return 0
        parsed = _parse(parser, rest)
        from shuyuan.base.settings import given_flags

        command = kind.of(given_flags(parsed, kind))
        settings = given_flags(parsed, way) if way else {}
        if way:
            way.of(settings)
    except Fixable as wrong:
        raise Usage(wrong.what, wrong.hint, wrong.place) from wrong
    from shuyuan.cli.shell import Desk

    folder = Path(parsed.workspace or os.environ.get("SHUYUAN_WORKSPACE") or ".")
    with disk_errors(folder / "x"):
        return int(command.run(Desk(folder, getattr(parsed, "json", False), settings)))


def overview() -> str:
    """The help of `shuyuan` itself, drawn from the folder of commands without importing them."""
    lines = shelf.choices("cli")
    width = max(map(len, lines)) + 2
    commands = "".join(f"  {spoken(name):<{width}}{word(line)}\n" for name, line in lines.items())
    return f"{explained(ABOUT)}\n{word('commands:')}\n{commands}\n{explained(SHARED)}"


def spoken(name: str) -> str:
    """A command as people type it: the file `exam_show.py` is `exam show`."""
    return name.replace("-", " ")


def split_command(words: Sequence[str]) -> tuple[str, list[str]]:
    """The command that a line names, in one word or two (`exam show` → `exam-show`), and the line's other words."""
    at = _first_word(words)
    name, rest = words[at], [*words[:at], *words[at + 1 :]]
    second = _first_word(rest)
    if second < len(rest) and (both := f"{name}-{rest[second]}") in shelf.choices("cli"):
        return both, [*rest[:second], *rest[second + 1 :]]
    return name, rest


def command_parser(name: str, rest: Sequence[str] = ()) -> tuple[Parser, Any, Any]:
    """The parser of one command, its class, and the class of the way that `rest` names first (`lora`), if it does.

    Raises `Usage` for an unknown command and `Fixable` for an unknown way, each with the near miss.
    """
    known = shelf.choices("cli")
    if name not in known:
        longer = [spoken(one) for one in known if one.startswith(f"{name}-")]
        if longer:
            raise Usage(f"'{name}' is the first word of several commands", f"one of: {', '.join(longer)}")
        raise Usage(f"there is no command '{name}'", near_miss(name, map(spoken, known)))
    kind = shelf.choose("cli", name)
    at = _first_word(rest)
    way_name = rest[at] if kind.room and at < len(rest) else ""
    way = shelf.choose(kind.room, way_name) if way_name else None
    about = sentence(shelf.choices(kind.room)[way_name] if way_name else known[name])
    examples = "" if way_name else f"\n\n{word('examples:')}\n{explained(_indented(kind.examples))}"
    words = " ".join(("shuyuan", spoken(name), *([way_name] if way_name else [])))
    parser = Parser(
        prog=f"shuyuan {spoken(name)}",
        usage=f"{words}{_positionals(kind, bool(way))} [{word('settings')}]",
        description=about + examples,
        formatter_class=Formatter,
        add_help=False,
        allow_abbrev=False,
    )
    from shuyuan.base.settings import add_flags

    if way:
        add_flags(parser.add_argument_group(f"settings of {way_name}"), way)  # type: ignore[arg-type]
    add_flags(parser, kind)
    if kind.speaks_json:
        parser.add_argument("--json", action="store_true", help=word("print the result as JSON"))
    for action in _shared()._actions:
        parser._add_action(action)
    return parser, kind, way


def _parse(parser: Parser, rest: Sequence[str]) -> argparse.Namespace:
    parsed, unknown = parser.parse_known_intermixed_args(list(rest))
    if unknown:
        flags = [flag for action in parser._actions for flag in action.option_strings]
        flag = next((word for word in unknown if word.startswith("-")), "")
        if flag:
            raise Usage(f"{parser.prog} has no flag {flag}", near_miss(flag.partition("=")[0], flags))
        raise Usage(f"{parser.prog} cannot use '{unknown[0]}'", f"see: {parser.prog} --help")
    return parsed


def _shared() -> argparse.ArgumentParser:
    shared = Parser(prog="shuyuan", add_help=False, allow_abbrev=False)
    shared.add_argument("-w", "--workspace", metavar="DIR", help=word("the folder to work in"))
    shared.add_argument("--debug", action="store_true", help=word("show the traceback of an error"))
    shared.add_argument("-h", "--help", action="store_true", help=word("show this page"))
    return shared


def _first_word(argv: Sequence[str]) -> int:
    """The index of the first word that is neither a shared flag nor its value, or `len(argv)`."""
    at = 0
    while at < len(argv) and argv[at].startswith("-"):
        at += 2 if argv[at] in ("-w", "--workspace") else 1
    return min(at, len(argv))


def _positionals(kind: Any, chosen: bool) -> str:
    shown = ""
    for name, info in kind.model_fields.items():
        many = " …" if "tuple" in str(info.annotation) else ""
        if info.is_required():
            shown += f" {name.upper()}{many}"
        elif (info.json_schema_extra or {}).get("positional") and not chosen:
            shown += f" [{name.upper()}{many}]"
    return shown


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.strip().splitlines())


if __name__ == "__main__":
    sys.exit(main())
