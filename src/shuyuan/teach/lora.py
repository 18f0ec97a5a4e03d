"""Tune a small low-rank adapter on the examples; the base model's weights stay as they are."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shuyuan.base.records import Assistant, Lessons, Run
from shuyuan.teach.adapting import LowRank, with_learned
from shuyuan.teach.course import taught_model


class Lora(LowRank):
    """LoRA (Hu et al., arXiv 2106.09685) on every linear layer, kept in the PEFT adapter format."""

    pissa: Annotated[bool, Field(description="PiSSA: start from the weights' main directions, not from noise")] = False

    def teach(self, assistant: Assistant, lessons: Lessons, run: Run) -> Assistant:
        """Learn the examples' assistant turns; raises when there are none."""
        self.learn(taught_model(assistant, "lora"), lessons, run, self.pissa)
        return self.open(assistant, run)

    def open(self, assistant: Assistant, run: Run) -> Assistant:
        """The base with the adapter of `run`."""
        return with_learned(assistant, taught_model(assistant, "lora"), run)
