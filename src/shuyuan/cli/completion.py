"""Print the script that completes commands and flags in a shell."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shuyuan.base import shelf
from shuyuan.cli.shell import Command, Desk

_LOOKUP = """\
_shuyuan_words() {{
  case "$1" in
{cases}
  esac
}}
"""
_BASH = """\
_shuyuan() {
  local word="${COMP_WORDS[COMP_CWORD]}" so_far="${COMP_WORDS[*]:1:COMP_CWORD-1}" words
  words="$(_shuyuan_words "$so_far")"
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _shuyuan shuyuan
"""
_ZSH = """\
#compdef shuyuan
_shuyuan() {
  local -a choices
  choices=(${=$(_shuyuan_words "${words[2,CURRENT-1]}")})
  compadd -a choices
  _files
}
compdef _shuyuan shuyuan
"""


class Completion(Command):
    """Print a completion script; the words in it are drawn from the commands, routes and settings of this version."""

    examples: ClassVar[str] = """
source <(shuyuan completion bash)
source <(shuyuan completion zsh)
shuyuan completion fish > ~/.config/fish/completions/shuyuan.fish
"""
    shell: Annotated[Literal["bash", "zsh", "fish"], Field(description="bash, zsh or fish")]

    def run(self, desk: Desk) -> int:
        """Print the script."""
        if self.shell == "fish":
            print("\n".join(_fish()))
            return 0
        cases = "\n".join(f'    {_pattern(line)}) echo "{" ".join(words)}" ;;' for line, words in _words().items())
        print(_LOOKUP.format(cases=cases) + (_BASH if self.shell == "bash" else _ZSH), end="")
        return 0


def _words() -> dict[str, list[str]]:
    """What may follow each beginning of a line, the longest beginnings first: `teach lora` → its flags."""
    commands = shelf.choices("cli")
    words = {"": list(dict.fromkeys(command.partition("-")[0] for command in commands))}
    for command in commands:
        room = shelf.choose("cli", command).room
        ways = list(shelf.choices(room)) if room else []
        seconds = [other.removeprefix(f"{command}-") for other in commands if other.startswith(f"{command}-")]
        words[command.replace("-", " ")] = seconds + ways + _flags(command)
        words |= {f"{command} {way}": _flags(command, way) for way in ways}
    return dict(sorted(words.items(), key=lambda entry: -len(entry[0].split())))


def _flags(command: str, *way: str) -> list[str]:
    from shuyuan.cli.main import command_parser

    parser, _, _ = command_parser(command, way)
    return [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]


def _pattern(line: str) -> str:
    return f'"{line}"|"{line} "*' if line else '""'


def _fish() -> list[str]:
    script = ["complete -c shuyuan -f"]
    for line, words in _words().items():
        first, *rest = line.split() or [""]
        seen = f"__fish_seen_subcommand_from {first}" if first else "__fish_use_subcommand"
        seen += "".join(f"; and __fish_seen_subcommand_from {word}" for word in rest)
        for word in words:
            flag = f"-l {word[2:]}" if word.startswith("--") else f"-a {word}"
            script.append(f"complete -c shuyuan -n '{seen}' {flag}")
    return [*dict.fromkeys(script)]
