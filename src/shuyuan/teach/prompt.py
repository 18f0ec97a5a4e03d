"""No teaching: the base model with a short instruction. The baseline every other route is measured against."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.records import Assistant, Lessons, Run
from shuyuan.base.settings import Settings

INSTRUCTION = (
    "Answer the question in one short sentence, in the language of the question. If you do not know the answer, say so."
)


class Prompt(Settings):
    """Puts an instruction in front of every conversation and changes nothing else."""

    learns_examples: ClassVar[bool] = False
    instruction: Annotated[str, Field(max_length=4000, description="the system message")] = INSTRUCTION

    def teach(self, assistant: Assistant, lessons: Lessons, run: Run) -> Assistant:
        """There is nothing to do: the instruction is the whole of it."""
        return self.open(assistant, run)

    def open(self, assistant: Assistant, run: Run) -> Assistant:
        """The assistant with the instruction."""
        from shuyuan.load.answering import ModelAssistant
        from shuyuan.load.remote import RemoteAssistant
        from shuyuan.teach.course import taught_model

        if isinstance(assistant, RemoteAssistant):
            return replace(assistant, name=run.name, system=self.instruction)
        return ModelAssistant(run.name, taught_model(assistant, "prompt"), system=self.instruction)
