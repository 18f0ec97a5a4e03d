"""Ask an assistant, and see where its answer comes from."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shuyuan.base.progress import Wait, say
from shuyuan.base.records import ask as conversation
from shuyuan.cli.shell import Desk
from shuyuan.cli.shown import cited, footer, in_mode, keep_asked, marked, sources
from shuyuan.cli.wanted import AskingCommand


class Ask(AskingCommand):
    """Ask one question; what an assistant with a library says is cited with file, place and exact span."""

    examples: ClassVar[str] = """
shuyuan ask "How long may I be away?"
shuyuan ask "山长什么时候上任？" --with lora+retrieve
shuyuan ask "What is a token?" --mode chat     may go beyond the library, and says so
shuyuan ask "谁上任？" --tag rules --kind pdf      only from documents with this tag, of this kind
"""
    speaks_json: ClassVar[bool] = True
    question: Annotated[str, Field(min_length=1, description="what to ask")]
    with_: Annotated[str, Field(description="who answers; empty: retrieve if it is taught, else the newest")] = ""
    mode: Annotated[
        Literal["query", "chat"] | None,
        Field(description="query: answer only from the library; chat: may go beyond it. Left out: as it was taught"),
    ] = None

    def run(self, desk: Desk) -> int:
        """Answer on stdout."""
        from shuyuan.teach.teaching import default_assistant, open_assistant, stale

        workspace = desk.workspace()
        name = self.with_ or default_assistant(workspace)
        with Wait(f"opening {name}"):
            assistant = self.for_us(open_assistant(workspace, name))
        if self.mode:
            assistant = in_mode(assistant, self.mode)
        with Wait(f"{name} is answering"):
            (answer,) = assistant.answer([conversation(self.question)])
        if why := stale(workspace, name):
            say(f"{name} may be out of date: {why}")
        places = sources(workspace, answer)
        page = "\n\n".join([marked(answer), *([places] if places else []), footer(name, answer)])
        citations = [cited(workspace, citation) for citation in answer.citations]
        desk.show(page, {"assistant": name, **asdict(answer), "citations": citations})
        keep_asked(workspace, assistant, conversation(self.question), answer)
        return 0
