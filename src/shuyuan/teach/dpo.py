"""Tune a low-rank adapter on pairs of answers, so that the better of two becomes likelier than the worse."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.records import Assistant, Lessons, Run
from shuyuan.teach.adapting import LowRank, with_learned
from shuyuan.teach.course import pairs_course, taught_model


class Dpo(LowRank):
    """DPO (Rafailov et al., arXiv 2305.18290) on an adapter; the assistant it is taught on is the reference."""

    learns_pairs: ClassVar[bool] = True
    beta: Annotated[float, Field(gt=0, le=10, description="how strongly the model is held to where it began")] = 0.1
    learning_rate: Annotated[float, Field(gt=0, le=0.1, description="peak learning rate")] = 2e-4
    epochs: Annotated[int, Field(ge=1, le=1000, description="times every pair is seen")] = 3
    batch: Annotated[int, Field(ge=1, le=4096, description="pairs a step")] = 8
    longest: Annotated[int, Field(ge=16, le=1 << 17, description="tokens after which each ending is cut")] = 1024

    def teach(self, assistant: Assistant, lessons: Lessons, run: Run) -> Assistant:
        """Learn which endings are better; raises when no example has two."""
        from shuyuan.train.preference import Preference

        base = taught_model(assistant, "dpo")
        loss = Preference(beta=self.beta).beside(base.net)
        self.adapt(base, pairs_course(self, base, lessons, run), "pairs", loss, run)
        return self.open(assistant, run)

    def open(self, assistant: Assistant, run: Run) -> Assistant:
        """The assistant that it was taught on with the adapter of `run`."""
        return with_learned(assistant, taught_model(assistant, "dpo"), run)
