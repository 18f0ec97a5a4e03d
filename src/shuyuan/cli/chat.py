"""Talk with an assistant in the terminal, question after question."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shuyuan.base.chinese import labelled, told, word
from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.progress import Wait, say
from shuyuan.base.records import Answer, Assistant, Message
from shuyuan.base.workspace import Workspace
from shuyuan.cli.shell import Desk
from shuyuan.cli.shown import UNSUPPORTED, footer, in_mode, keep_asked, sources
from shuyuan.cli.wanted import AskingCommand

HELP = """\
/mode query    answer only from the library; /mode chat: may go beyond it, and says so
/sources       where the last answer has it from, word for word
/with NAME     somebody else answers; /with alone lists who can
/new           begin again: what was said so far is forgotten
/help          this page
Ctrl-C         stop an answer; Ctrl-D: leave
"""


class Chat(AskingCommand):
    """Talk with an assistant; it remembers what was said. Type /help in it for what else it understands."""

    examples: ClassVar[str] = """
shuyuan chat
shuyuan chat --with lora+retrieve --mode chat
"""
    with_: Annotated[str, Field(description="who answers; empty: retrieve if it is taught, else the newest")] = ""
    mode: Annotated[
        Literal["query", "chat"] | None,
        Field(description="query: answer only from the library; chat: may go beyond it. Left out: as it was taught"),
    ] = None

    def run(self, desk: Desk) -> int:
        """Read a question, answer it, until the input ends."""
        from shuyuan.teach.teaching import default_assistant

        workspace = desk.workspace()
        talk = Talk(workspace, self.with_ or default_assistant(workspace), self.for_us)
        if self.mode:
            talk.do("mode", self.mode)
        asked_by_person = sys.stdin.isatty()
        if asked_by_person:
            import readline  # noqa: F401  (gives `input` arrow keys and a history)

            say(f"{talk.assistant.name} answers. /help for more, Ctrl-D to leave.")
        while True:
            try:
                line = input("\n> " if asked_by_person else "").strip()
            except EOFError:
                return 0
            except KeyboardInterrupt:  # at the prompt: a new line, as in a shell
                continue
            try:
                if line.startswith("/"):
                    print(talk.do(*line[1:].split(maxsplit=1)), file=sys.stderr, flush=True)
                elif line:
                    talk.ask(line)
            except KeyboardInterrupt:
                say("\n" + word("stopped"))
            except Fixable as wrong:
                say(str(wrong))


class Talk:
    """One conversation: who answers, in which mode, and what was said."""

    def __init__(self, workspace: Workspace, name: str, for_us: Callable[[Assistant], Assistant]) -> None:
        self._workspace, self._mode, self._for_us = workspace, "", for_us
        self._said: list[Message] = []
        self._answer: Answer | None = None
        self.assistant = self._opened(name)

    def ask(self, question: str) -> None:
        """Answer on stdout as it is written. A refused or stopped turn is not remembered."""
        turn = Message("user", question)
        asked = [*self._said, turn]
        pieces = self.assistant.stream(asked)
        with Wait(f"{self.assistant.name} is answering") as wait:
            try:
                while True:
                    piece = next(pieces)
                    wait.over()
                    print(piece, end="", flush=True)
            except StopIteration as ended:
                answer: Answer = ended.value
            finally:
                pieces.close()
        print()
        self._answer = answer
        if not answer.refused:
            self._said += [turn, Message("assistant", answer.text)]
        for start, end in () if answer.beyond else answer.unsupported:
            print(f"{UNSUPPORTED} {labelled('not from the library', answer.text[start:end])}")
        if places := sources(self._workspace, answer):
            print(f"\n{places}")
        say(footer(self.assistant.name, answer))
        keep_asked(self._workspace, self.assistant, asked, answer)

    def do(self, name: str = "", given: str = "") -> str:
        """Carry out `/name given` and say what came of it. Raises `Fixable` for what it does not know."""
        ways = {
            "help": self._help,
            "mode": self._switch,
            "sources": self._show,
            "with": self._call,
            "new": self._forget,
        }
        if name not in ways:
            raise Fixable(f"there is no /{name} here", near_miss(name, ways) or "/help lists what there is")
        return ways[name](given.strip())

    def _help(self, _: str) -> str:
        return told(HELP.rstrip())

    def _switch(self, mode: str) -> str:
        if mode not in ("query", "chat"):
            raise Fixable(f"there is no mode '{mode}'", "/mode query or /mode chat")
        self.assistant, self._mode = in_mode(self.assistant, mode), mode
        return labelled("mode", mode)

    def _show(self, _: str) -> str:
        if self._answer is None:
            return told("nothing was asked yet")
        return sources(self._workspace, self._answer) or told("the last answer cites nothing")

    def _call(self, name: str) -> str:
        if name:
            self.assistant = self._opened(name)
            return told(f"{name} answers from here on")
        taught = ", ".join([*self._workspace.runs(), "bare"])
        return told(f"{self.assistant.name} answers. There are: {taught}")

    def _forget(self, _: str) -> str:
        self._said.clear()
        self._answer = None
        return told("all of it is forgotten")

    def _opened(self, name: str) -> Assistant:
        from shuyuan.recall.grounded import GroundedAssistant
        from shuyuan.teach.teaching import open_assistant, stale

        with Wait(f"opening {name}"):
            assistant = self._for_us(open_assistant(self._workspace, name))
        if why := stale(self._workspace, name):
            say(f"{name} may be out of date: {why}")
        return assistant.in_mode(self._mode) if self._mode and isinstance(assistant, GroundedAssistant) else assistant
