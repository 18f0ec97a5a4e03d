"""Show a question that was asked: its answer, where that stands, and what others asked."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.asked import Asked
from shuyuan.base.chinese import labelled, listed, told, word
from shuyuan.base.workspace import Workspace
from shuyuan.cli.shell import Command, Desk
from shuyuan.cli.shown import day, marked, sources


class QuestionShow(Command):
    """Show one question with its wordings, its answer and sources, and related questions."""

    examples: ClassVar[str] = """
shuyuan question show q3f2a90b1c4d5e6f7
shuyuan question show "How long may I be away?"
"""
    speaks_json: ClassVar[bool] = True
    question: Annotated[str, Field(description="its id, or the very question")]

    def run(self, desk: Desk) -> int:
        """Print its page."""
        from shuyuan.recall.asked import related

        workspace = desk.workspace()
        asked = workspace.material.asked
        there = asked.wording(self.question)
        one = asked.get(there.asked if there else self.question)
        near = related(asked, one.wordings[0])
        desk.show(_page(workspace, one, near), {"question": one, "state": one.state, "related": near})
        return 0


def _page(workspace: Workspace, one: Asked, near: list[Asked]) -> str:
    lines = [
        f"{one.text}  [{one.id}]",
        *(f"  {labelled('also', wording)}" for wording in one.wordings if wording != one.text),
    ]
    lines.append(told(f"  asked {one.times:,} times, first {day(one.first)}, last {day(one.last)}"))
    if one.answer:
        places = sources(workspace, one.answer)
        seen = told("a page for everybody") if one.public else word("private")
        lines += ["", marked(one.answer), *(["", places] if places else [])]
        lines += ["", f"— {labelled('a model wrote this', listed((one.assistant, day(one.answered))))} · {seen}"]
    elif one.withdrawn:
        why = "a document that the answer cites was changed or removed"
        lines += ["", told(f"withdrawn {day(one.withdrawn)}: {why}")]
    else:
        lines += ["", told("unanswered: the documents do not say")]
    if near:
        lines += [
            "",
            labelled("related", "").rstrip(),
            *(f"  {day(other.last)}  {other.text}  [{other.id}]" for other in near),
        ]
    return "\n".join(lines)
