"""Look into an exam: questions, and what each assistant read, said and cited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from shuyuan.base.chinese import labelled, told, word
from shuyuan.cli.shell import Command, Desk, table
from shuyuan.cli.shown import shortened

if TYPE_CHECKING:
    from shuyuan.examine.showing import Item, Reply


class ExamShow(Command):
    """Show the questions of an exam with everybody's marks; one of them, or a choice, with what was said."""

    examples: ClassVar[str] = """
shuyuan exam show                              every question, and who got it right
shuyuan exam show "learning rate"              all that was said to the questions that hold these words
shuyuan exam show --assistant lora --wrong     what lora got wrong
shuyuan exam show --disagree --most 10         the questions that divide the assistants most
shuyuan exam show q17 --prompts                with the text that each model read
"""
    speaks_json: ClassVar[bool] = True
    question: Annotated[
        str, Field(description="a question's id, or words of it", json_schema_extra={"positional": True})
    ] = ""
    assistant: Annotated[tuple[str, ...], Field(description="only what these said")] = ()
    wrong: Annotated[bool, Field(description="only what somebody got wrong")] = False
    disagree: Annotated[bool, Field(description="only where assistants differ, most divided first")] = False
    prompts: Annotated[bool, Field(description="show the text that the model read, too")] = False
    most: Annotated[int, Field(ge=0, description="most questions shown; 0: all")] = 0
    exam: Annotated[str, Field(description="which exam; empty: the newest")] = ""

    def run(self, desk: Desk) -> int:
        """Print a line a question, or what was said where something was chosen."""
        from shuyuan.examine.showing import items

        sat = desk.exam(self.exam)
        found = items(sat, self.question, self.assistant, wrong=self.wrong, disagree=self.disagree)
        shown = found[: self.most] if self.most else found
        whole = self.question or self.assistant or self.wrong or self.disagree or self.prompts
        text = "\n\n".join(self._whole(item) for item in shown) if whole else _list(shown)
        whole_number = len(sat.questions) + len(sat.general) + len(sat.others)
        desk.show(f"{text}\n\n{told(f'{len(shown):,} of {whole_number:,} questions')}", shown)
        return 0

    def _whole(self, item: Item) -> str:
        question = item.question
        gold = " | ".join(question.answers) or told("(the documents do not say: decline)")
        lines = [f"{question.text}  [{question.id}]", f"  {labelled('expected', gold)}"]
        if question.evidence:
            lines.append(f"  {labelled('evidence', question.source)}: {' '.join(question.evidence.split())}")
        for reply in item.replies:
            lines += self._reply(reply)
        return "\n".join(lines)

    def _reply(self, reply: Reply) -> list[str]:
        lines = []
        for answer in reply.answers:
            cost = told(f"{answer.prompt_tokens:,} + {answer.answer_tokens:,} tokens") + f", {answer.seconds:.2f} s"
            lines.append(f"  {_mark(reply)} {reply.assistant}: {' '.join(answer.text.split())}  ({cost})")
            lines += [f"      ↳ {c.source} [{c.start}–{c.end}]: {' '.join(c.quote.split())}" for c in answer.citations]
            if self.prompts:
                lines += [f"      │ {line}" for line in (answer.prompt or told("(not known)")).splitlines()]
        return lines


def _list(shown: Sequence[Item]) -> str:
    names = [reply.assistant for reply in shown[0].replies] if shown else []
    rows = [(shortened(item.question.text), *map(_mark, item.replies), item.question.id) for item in shown]
    return table(rows, (word("question"), *names, "id"))


def _mark(reply: Reply) -> str:
    """✓ right, ○ declined where there was an answer, × wrong, · not marked alone; a share where samples differ."""
    if reply.mark is None:
        return "·"
    if 0 < reply.mark < 1:
        return f"{reply.mark:.0%}"
    return "✓" if reply.right else "○" if reply.declined else "×"
