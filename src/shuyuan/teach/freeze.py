"""Tune all the weights of the last few blocks; everything before them stays as it is."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shuyuan.base.records import Assistant, Lessons, Run
from shuyuan.base.settings import Settings
from shuyuan.teach.course import answering_with, examples_course, taught_model


class Freeze(Settings):
    """Teaches the last blocks and the norm after them, and keeps those weights only, to be put into the same base."""

    blocks: Annotated[int, Field(ge=1, le=1000, description="last blocks that learn")] = 2
    head: Annotated[bool, Field(description="the output layer learns too, where it is not the embedding")] = False
    learning_rate: Annotated[float, Field(gt=0, le=0.1, description="peak learning rate")] = 5e-5
    epochs: Annotated[int, Field(ge=1, le=1000, description="times every example is seen")] = 4
    batch: Annotated[int, Field(ge=1, le=4096, description="examples a step")] = 8
    longest: Annotated[int, Field(ge=16, le=1 << 17, description="tokens after which an example is cut")] = 1024

    def teach(self, assistant: Assistant, lessons: Lessons, run: Run) -> Assistant:
        """Learn the examples' assistant turns; raises when there are none, or when the model has fewer blocks."""
        from shuyuan.train.adapter import merged
        from shuyuan.train.changed import save_changed, weights_mark
        from shuyuan.train.layers import last_blocks, sharing_copy
        from shuyuan.train.loop import fit
        from shuyuan.train.supervised import Supervised

        base = taught_model(assistant, "freeze")
        course = examples_course(self, base, lessons, run)
        plain = merged(base.net)
        chosen = last_blocks(plain, self.blocks, self.head)
        net = sharing_copy(plain, own=chosen)
        learned = {name: weight for name, weight in net.named_parameters() if name in chosen}
        fit(net, learned, Supervised(), course.plan(self, run, self.learning_rate, "examples"))
        save_changed(learned, run.folder / "weights", weights_mark(base.net))
        return self.open(assistant, run)

    def open(self, assistant: Assistant, run: Run) -> Assistant:
        """The base with the taught blocks of `run` in place of its own."""
        from shuyuan.train.adapter import merged
        from shuyuan.train.changed import load_changed, weights_mark

        base = taught_model(assistant, "freeze")
        net = load_changed(merged(base.net), run.folder / "weights", weights_mark(base.net))
        return answering_with(net, assistant, run)
