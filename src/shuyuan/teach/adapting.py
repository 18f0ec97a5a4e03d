"""What the routes that teach an adapter share: its settings and how it is learned."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from shuyuan.base.records import Assistant, Lessons, Run
from shuyuan.base.settings import Settings
from shuyuan.teach.course import Course, answering_with, examples_course

if TYPE_CHECKING:
    from shuyuan.load.model import Model
    from shuyuan.train.loop import Loss


class LowRank(Settings):
    """An adapter on every linear layer of the blocks, kept in the PEFT format."""

    rank: Annotated[int, Field(ge=1, le=512, description="width of the adapter")] = 16
    alpha: Annotated[float, Field(gt=0, le=2048, description="the adapter's output is scaled by alpha / rank")] = 32.0
    learning_rate: Annotated[float, Field(gt=0, le=0.1, description="peak learning rate")] = 3e-4
    epochs: Annotated[int, Field(ge=1, le=1000, description="times every example is seen")] = 6
    batch: Annotated[int, Field(ge=1, le=4096, description="examples a step")] = 8
    longest: Annotated[int, Field(ge=16, le=1 << 17, description="tokens after which an example is cut")] = 1024
    rslora: Annotated[bool, Field(description="rsLoRA: scale by alpha / √rank, for large ranks")] = False
    dora: Annotated[bool, Field(description="DoRA: learn the length of each weight row apart; slower")] = False
    plus_ratio: Annotated[float, Field(ge=1, le=256, description="LoRA+: B learns this many times as fast as A")] = 1.0

    def learn(self, base: Model, lessons: Lessons, run: Run, pissa: bool = False) -> None:
        """Teach `base` the examples by an adapter; raises when there are none."""
        from shuyuan.train.supervised import Supervised

        self.adapt(base, examples_course(self, base, lessons, run), "examples", Supervised(), run, pissa)

    def adapt(  # noqa: PLR0917  (what a teaching is made of)
        self, base: Model, course: Course, unit: str, loss: Loss, run: Run, pissa: bool = False
    ) -> None:
        """Teach `base` a course by an adapter and keep it in `run.folder/weights`."""
        from shuyuan.train.adapter import adapter_weights, plus_rates, save_adapter, with_adapter
        from shuyuan.train.loop import fit

        scale = self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)
        net = with_adapter(base.net, self.rank, scale, run.seed, dora=self.dora, pissa=pissa)
        learned = adapter_weights(net)
        plan = course.plan(self, run, self.learning_rate, unit)
        fit(net, learned, loss, replace(plan, rates=plus_rates(learned, self.plus_ratio)))
        save_adapter(net, run.folder / "weights", base.name, rslora=self.rslora)


def with_learned(assistant: Assistant, base: Model, run: Run) -> Assistant:
    """The assistant on `base` with the adapter of `run`."""
    from shuyuan.train.adapter import load_adapter

    return answering_with(load_adapter(base.net, run.folder / "weights"), assistant, run, base)
