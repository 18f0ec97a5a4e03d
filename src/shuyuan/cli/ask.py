"""Ask an assistant, and see where its answer comes from."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from shuyuan.base.errors import Fixable
from shuyuan.base.progress import human_seconds, say
from shuyuan.base.records import Answer, Assistant, Citation
from shuyuan.base.records import ask as conversation
from shuyuan.base.workspace import Workspace
from shuyuan.cli.shell import Command, Desk


class Ask(Command):
    """Ask one question; what an assistant with a library says is cited with file, place and exact span."""

    examples: ClassVar[str] = """
shuyuan ask "How long may I be away?"
shuyuan ask "山长什么时候上任？" --with lora+retrieve
shuyuan ask "What is a token?" --mode chat     may go beyond the library, and says so
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
        assistant = open_assistant(workspace, name)
        if self.mode:
            assistant = _in_mode(assistant, self.mode)
        (answer,) = assistant.answer([conversation(self.question)])
        if why := stale(workspace, name):
            say(f"{name} may be out of date: {why}")
        citations = [_cited(workspace, citation) for citation in answer.citations]
        desk.show(_page(name, answer, citations), {"assistant": name, **asdict(answer), "citations": citations})
        return 0


def _in_mode(assistant: Assistant, mode: str) -> Assistant:
    from shuyuan.recall.grounded import GroundedAssistant

    if not isinstance(assistant, GroundedAssistant):
        raise Fixable(
            f"'{assistant.name}' has no library, so it has no mode", "ask --with one that was taught retrieve"
        )
    return assistant.in_mode(mode)


def _cited(workspace: Workspace, citation: Citation) -> dict[str, Any]:
    """A citation with the headings above it."""
    document = workspace.material.document(citation.source)
    return {**asdict(citation), "headings": document.headings_at(citation.start) if document else ()}


def _page(name: str, answer: Answer, citations: list[dict[str, Any]]) -> str:
    lines = [answer.text]
    for number, cited in enumerate(citations, 1):
        page = f", page {cited['page']}" if cited["page"] else ""
        place = " > ".join((f"{cited['source']}{page}", *cited["headings"]))
        lines += ["", f"[{number}] {place}, characters {cited['start']}–{cited['end']}", f"    “{cited['quote']}”"]
    state = " · refused" if answer.refused else " · beyond the library" if answer.beyond else ""
    tokens = f"{answer.prompt_tokens:,} + {answer.answer_tokens:,} tokens"
    return "\n".join([*lines, "", f"— {name}{state} · {human_seconds(answer.seconds)} · {tokens}"])
