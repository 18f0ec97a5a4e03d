"""Tune a small low-rank adapter on the examples; the base model's weights stay as they are."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from shuyuan.base.progress import say
from shuyuan.base.records import Assistant, Lessons, Run
from shuyuan.base.settings import Settings
from shuyuan.teach.course import Course, need_examples, taught_model


class Lora(Settings):
    """LoRA (Hu et al., arXiv 2106.09685) on every linear layer, kept in the PEFT adapter format."""

    rank: Annotated[int, Field(ge=1, le=512, description="width of the adapter")] = 16
    alpha: Annotated[float, Field(gt=0, le=2048, description="the adapter's output is scaled by alpha / rank")] = 32.0
    learning_rate: Annotated[float, Field(gt=0, le=0.1, description="peak learning rate")] = 3e-4
    epochs: Annotated[int, Field(ge=1, le=1000, description="times every example is seen")] = 6
    batch: Annotated[int, Field(ge=1, le=4096, description="examples a step")] = 8
    longest: Annotated[int, Field(ge=16, le=1 << 17, description="tokens after which an example is cut")] = 1024

    def teach(self, assistant: Assistant, lessons: Lessons, run: Run) -> Assistant:
        """Learn the examples' assistant turns; raises when there are none."""
        from shuyuan.prepare.chat import encode_examples
        from shuyuan.prepare.pack import Pack
        from shuyuan.train.adapter import adapter_weights, save_adapter, with_adapter
        from shuyuan.train.loop import fit
        from shuyuan.train.supervised import Supervised

        base = taught_model(assistant, "lora")
        need_examples(lessons, "lora")
        sequences, kept = encode_examples(lessons.examples, base.tokenizer, self.longest)
        say(f"{run.name}: {kept}")
        course = Course(sequences, self.epochs, self.batch, run.seed, Pack(row_tokens=self.longest))
        net = with_adapter(base.net, self.rank, self.alpha / self.rank, run.seed)
        fit(net, adapter_weights(net), Supervised(), course.plan(self, run, self.learning_rate, "examples"))
        save_adapter(net, run.folder / "weights", base.name, self.rank, self.alpha)
        return self.open(assistant, run)

    def open(self, assistant: Assistant, run: Run) -> Assistant:
        """The base with the adapter of `run`."""
        from shuyuan.teach.course import answering_with
        from shuyuan.train.adapter import load_adapter

        base = taught_model(assistant, "lora")
        return answering_with(load_adapter(base.net, run.folder / "weights"), assistant, run)
