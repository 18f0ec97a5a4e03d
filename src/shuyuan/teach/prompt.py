"""No teaching: an instruction in front of the question, and the documents themselves if wanted. The baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, chain, zip_longest
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.errors import Fixable
from shuyuan.base.files import write_whole
from shuyuan.base.progress import say
from shuyuan.base.records import Assistant, Document, Lessons, Run, ask
from shuyuan.base.settings import Settings

INSTRUCTION = (
    "Answer the question in one short sentence, in the language of the question. If you do not know the answer, say so."
)
ROOM = 1024  # tokens of the model's context that are left for the conversation
SHOWN = "documents.md"  # in the run's folder: what stands in front of every question


class Prompt(Settings):
    """Puts an instruction, and documents if wanted, in front of every conversation and changes nothing else."""

    learns_examples: ClassVar[bool] = False
    changes_weights: ClassVar[bool] = False
    instruction: Annotated[str, Field(max_length=4000, description="the system message")] = INSTRUCTION
    documents: Annotated[
        int,
        Field(ge=0, le=10_000_000, description="characters of the documents to put in front of every question as well"),
    ] = 0

    def teach(self, assistant: Assistant, lessons: Lessons, run: Run) -> Assistant:
        """Keep the documents that go in front. Raises `Fixable` when there are none or the model cannot hold them."""
        if self.documents:
            if not lessons.documents:
                raise Fixable("there are no documents to put in front", "add some first: shuyuan add <folder>")
            write_whole(run.folder / SHOWN, shown(lessons.documents, self.documents))
        return self.open(assistant, run)

    def open(self, assistant: Assistant, run: Run) -> Assistant:
        """The assistant with the instruction."""
        from shuyuan.load.answering import ModelAssistant
        from shuyuan.load.remote import RemoteAssistant
        from shuyuan.teach.course import taught_model

        system = self.instruction
        if self.documents:
            system += f"\n\n{(run.folder / SHOWN).read_text(encoding='utf-8')}"
        if isinstance(assistant, RemoteAssistant):
            return replace(assistant, name=run.name, system=system)
        opened = ModelAssistant(run.name, taught_model(assistant, "prompt"), system=system)
        takes, context = len(opened.prompt(ask(""))), opened.model.context
        if takes + ROOM > context:
            raise Fixable(
                f"the prompt takes {takes:,} tokens, and {opened.model.name} reads {context:,} with the conversation",
                f"give it less: --documents {int(self.documents * max(0, context - ROOM) / takes * 0.9)}",
            )
        return opened


def shown(documents: Sequence[Document], most: int) -> str:
    """The beginning of all documents, one of each language in turn, cut at `most` characters; says what was cut."""
    languages = sorted({document.language for document in documents})
    turns = zip_longest(*([d for d in documents if d.language == language] for language in languages))
    texts = [f"[{d.source}]\n{d.text.strip()}" for d in chain.from_iterable(turns) if d]
    whole = "\n\n".join(texts)
    ends = accumulate(len(text) + 2 for text in texts)
    fit = sum(end - 2 <= most for end in ends)
    size = f"{min(most, len(whole)):,} of {len(whole):,} characters"
    say(f"{fit} of {len(texts)} documents stand whole in front of every question: {size}")
    return whole[:most]
