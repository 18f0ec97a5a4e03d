"""Tune all the model's weights on the examples."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shuyuan.base.records import Assistant, Lessons, Run
from shuyuan.base.settings import Settings
from shuyuan.teach.course import examples_course, open_weights, taught_model, teach_all_weights


class Full(Settings):
    """Full fine-tuning: every weight learns, in the model's own precision with a float32 master copy."""

    learning_rate: Annotated[float, Field(gt=0, le=0.1, description="peak learning rate")] = 2e-5
    epochs: Annotated[int, Field(ge=1, le=1000, description="times every example is seen")] = 4
    batch: Annotated[int, Field(ge=1, le=4096, description="examples a step")] = 8
    longest: Annotated[int, Field(ge=16, le=1 << 17, description="tokens after which an example is cut")] = 1024

    def teach(self, assistant: Assistant, lessons: Lessons, run: Run) -> Assistant:
        """Learn the examples' assistant turns; raises when there are none."""
        base = taught_model(assistant, "full")
        course = examples_course(self, base, lessons, run)
        teach_all_weights(base, course.plan(self, run, self.learning_rate, "examples"), run)
        return self.open(assistant, run)

    def open(self, assistant: Assistant, run: Run) -> Assistant:
        """The model with the weights of `run`."""
        return open_weights(assistant, run)
