"""Tune a low-rank adapter on a base kept in four bits: a quarter of the memory, a little slower and less exact."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from shuyuan.base.records import Assistant, Lessons, Run
from shuyuan.teach.adapting import LowRank, with_learned
from shuyuan.teach.course import answering_with, taught_model

if TYPE_CHECKING:
    from shuyuan.load.model import Model


class Qlora(LowRank):
    """QLoRA (Dettmers et al., arXiv 2305.14314): LoRA over NF4 weights, on a CPU as on a GPU; PEFT's adapter format."""

    double: Annotated[bool, Field(description="keep the scales in 8 bits: 4.13 instead of 4.5 bits a weight")] = True

    def teach(self, assistant: Assistant, lessons: Lessons, run: Run) -> Assistant:
        """Learn the examples' assistant turns; raises when there are none."""
        small = self._small(assistant)
        assistant = answering_with(small.net, assistant, run, small)  # lets the whole base go, if the caller did
        self.learn(small, lessons, run)
        return with_learned(assistant, small, run)

    def open(self, assistant: Assistant, run: Run) -> Assistant:
        """The base in four bits with the adapter of `run`."""
        return with_learned(assistant, self._small(assistant), run)

    def _small(self, assistant: Assistant) -> Model:
        from shuyuan.train.quantise import quantised

        base = taught_model(assistant, "qlora")
        return replace(base, net=quantised(base.net, self.double))
