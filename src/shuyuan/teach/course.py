"""What the routes that move weights share: the model they may teach, its course of batches, weights kept and opened."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from shuyuan.base.errors import Fixable
from shuyuan.base.files import fingerprint, whole_folder
from shuyuan.base.progress import say
from shuyuan.base.records import Assistant, Lessons, Run
from shuyuan.base.settings import Settings
from shuyuan.prepare.chat import Encoded
from shuyuan.prepare.pack import Pack, Row

if TYPE_CHECKING:
    import torch

    from shuyuan.load.model import Model
    from shuyuan.train.loop import Plan


def taught_model(assistant: Assistant, route: str) -> Model:
    """The model of an assistant whose weights can be taught; one that answers from a library is refused."""
    from shuyuan.load.answering import ModelAssistant

    if isinstance(assistant, ModelAssistant):
        return assistant.model
    raise Fixable(
        f"{route} teaches a model's weights, and '{assistant.name}' answers from a library",
        f"teach {route} first and give its result the library: shuyuan teach retrieve --on {route}",
    )


def need_examples(lessons: Lessons, route: str) -> None:
    """Refuse material without a single example."""
    if not lessons.examples:
        raise Fixable(
            f"there are no examples to teach {route} with",
            "add some: shuyuan add --questions FILE.jsonl; documents alone suit the routes continue and retrieve",
        )


def answering_with(net: torch.nn.Module, assistant: Assistant, run: Run) -> Assistant:
    """The given assistant with other weights and the run's name; everything else about it stays."""
    from shuyuan.load.answering import ModelAssistant

    assert isinstance(assistant, ModelAssistant)
    model = replace(assistant.model, net=net, name=run.name)
    return ModelAssistant(run.name, model, system=assistant.system, max_new_tokens=assistant.max_new_tokens)


def teach_all_weights(base: Model, plan: Plan, run: Run) -> None:
    """Teach a copy of the base and keep it as a Hugging Face folder, `weights/`, that other tools open too."""
    from shuyuan.train.loop import fit
    from shuyuan.train.supervised import Supervised

    net = copy.deepcopy(base.net)
    fit(net, dict(net.named_parameters()), Supervised(), plan)
    with whole_folder(run.folder / "weights") as aside:
        net.save_pretrained(aside)
        base.tokenizer.save_pretrained(aside)


def open_weights(assistant: Assistant, run: Run) -> Assistant:
    """The given assistant with the weights that `teach_all_weights` kept."""
    from shuyuan.load.model import open_model

    base = taught_model(assistant, run.name)
    model = open_model(str(run.folder / "weights"), dtype=base.net.dtype)
    return answering_with(model.net, assistant, run)


@dataclass(frozen=True)
class Course:
    """Sequences taught for some epochs, `batch` at a time, each epoch in an order of its own drawn from the seed."""

    sequences: tuple[Encoded, ...]
    epochs: int
    batch: int
    seed: int
    pack: Pack

    @property
    def steps_an_epoch(self) -> int:
        """The last batch of an epoch may be smaller."""
        return -(-len(self.sequences) // self.batch)

    def rows(self, step: int) -> tuple[Row, ...]:
        """The packed rows of one step; the same for the same step, whatever came before."""
        epoch, position = divmod(step, self.steps_an_epoch)
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.sequences))
        chosen = order[position * self.batch : (position + 1) * self.batch]
        return self.pack.pack(self.sequences[i] for i in chosen)

    def plan(self, route: Settings, run: Run, learning_rate: float, unit: str) -> Plan:
        """The loop's orders, said aloud with how the number of steps comes about."""
        from shuyuan.train.loop import Plan

        steps = self.steps_an_epoch * self.epochs
        tokens = sum(len(sequence.ids) for sequence in self.sequences)
        targets = sum(sequence.targets for sequence in self.sequences)
        say(
            f"{run.name}: {steps:,} steps = {self.epochs} epochs × {len(self.sequences):,} {unit} / {self.batch}; "
            f"{tokens:,} tokens an epoch, {targets:,} learned"
        )
        content = hashlib.sha256()
        for sequence in self.sequences:
            content.update(np.array(sequence.ids, np.int32).tobytes() + bytes(sequence.learned))
        mark = fingerprint(type(route).__name__, route.model_dump(), self.seed, content.hexdigest())
        return Plan(f"teaching {run.name}", steps, self.rows, learning_rate, run.folder, mark)
