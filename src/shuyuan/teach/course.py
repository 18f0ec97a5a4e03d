"""What the routes that move weights share: the model they may teach, its course of batches, weights kept and opened."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np

from shuyuan.base.errors import Fixable
from shuyuan.base.files import fingerprint, whole_folder, write_json
from shuyuan.base.progress import say
from shuyuan.base.records import Assistant, Lessons, Run
from shuyuan.base.settings import Settings
from shuyuan.prepare.chat import Encoded, encode_examples
from shuyuan.prepare.pack import Pack, Row
from shuyuan.teach.card import ESTIMATE

if TYPE_CHECKING:
    import torch

    from shuyuan.load.answering import ModelAssistant
    from shuyuan.load.model import Model
    from shuyuan.train.loop import Loss, Plan


def taught_model(assistant: Assistant, route: str) -> Model:
    """The model of an assistant whose weights can be taught; one without weights or with a library is refused."""
    from shuyuan.load.answering import ModelAssistant
    from shuyuan.load.remote import RemoteAssistant

    if isinstance(assistant, ModelAssistant):
        return assistant.model
    if isinstance(assistant, RemoteAssistant):
        raise Fixable(
            f"{route} needs the model itself, and '{assistant.name}' answers at {assistant.url}",
            "teach it retrieve or prompt, or make a workspace on a model of this machine",
        )
    raise Fixable(
        f"{route} teaches a model's weights, and '{assistant.name}' answers from a library",
        f"teach {route} first and give its result the library: shuyuan teach retrieve --on {route}",
    )


class LearnsExamples(Protocol):
    """The settings that every route has which learns examples."""

    @property
    def epochs(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def longest(self) -> int: ...


def examples_course(way: LearnsExamples, base: Model, lessons: Lessons, run: Run) -> Course:
    """The examples as a course for `base`, with what was cut or dropped said; raises when there are none."""
    from shuyuan.prepare.tokens import encoded

    if not lessons.examples:
        raise Fixable(
            f"there are no examples to teach {type(way).__name__.lower()} with",
            "add some: shuyuan add --questions FILE.jsonl; documents alone suit the routes continue and retrieve",
        )
    sequences, kept = encoded(lessons.examples, base.tokenizer, way.longest, run.cache)
    say(f"{run.name}: {kept}")
    aside: tuple[Encoded, ...] = ()
    if lessons.held_out:
        aside, kept = encode_examples(lessons.held_out, base.tokenizer, way.longest)
        say(f"{run.name}: to measure on, {kept}")
    return Course(sequences, way.epochs, way.batch, run.seed, Pack(row_tokens=way.longest), base, aside)


def pairs_course(way: LearnsExamples, base: Model, lessons: Lessons, run: Run) -> Course:
    """As `examples_course`, of the examples that have two endings; raises when none has."""
    from shuyuan.prepare.tokens import encoded_pairs

    pairs, kept = encoded_pairs(lessons.examples, base.tokenizer, way.longest, run.cache)
    if not pairs:
        raise Fixable(
            f"there are no pairs of a better and a worse answer to teach {type(way).__name__.lower()} with"
            + (f" ({kept})" if kept.came else ""),
            'add some: shuyuan add --data FILE.jsonl, with rows like {"prompt": …, "chosen": …, "rejected": …}',
        )
    say(f"{run.name}: {kept}")
    aside: tuple[Encoded, ...] = ()
    if lessons.held_out:
        held, kept = encoded_pairs(lessons.held_out, base.tokenizer, way.longest, run.cache)
        say(f"{run.name}: to measure on, {kept}")
        aside = tuple(held)
    return Course(pairs, way.epochs, way.batch, run.seed, Pack(row_tokens=way.longest), base, aside)


def answering_with(net: torch.nn.Module, assistant: Assistant, run: Run, base: Model | None = None) -> ModelAssistant:
    """The given assistant with weights that were taught answers and the run's name; everything else about it stays.

    `base`: what was taught, where it is not the assistant's own model. One that has a reader is kept to read with it.
    """
    from shuyuan.load.answering import ModelAssistant
    from shuyuan.recall.reader import reads

    assert isinstance(assistant, ModelAssistant)
    base = base or assistant.model
    model = replace(assistant.model, net=net, name=run.name)
    return replace(
        assistant,
        name=run.name,
        model=model,
        learned=True,
        untaught=assistant.untaught or (base if reads(base) else None),
    )


def teach_all_weights(base: Model, plan: Plan, run: Run) -> None:
    """Teach a copy of the base and keep it as a Hugging Face folder, `weights/`, that other tools open too."""
    from shuyuan.load.quiet import quiet
    from shuyuan.train.adapter import merged
    from shuyuan.train.loop import fit
    from shuyuan.train.supervised import Supervised

    net = copy.deepcopy(merged(base.net))  # an adapter learns on as part of the weights
    fit(net, dict(net.named_parameters()), Supervised(), plan)
    with quiet(), whole_folder(run.folder / "weights") as aside:
        net.save_pretrained(aside)  # type: ignore[operator]
        base.tokenizer.save_pretrained(aside)


def open_weights(assistant: Assistant, run: Run) -> ModelAssistant:
    """The given assistant with the weights that `teach_all_weights` kept."""
    from shuyuan.load.model import open_model

    base = taught_model(assistant, run.name)
    model = open_model(str(run.folder / "weights"), dtype=base.net.dtype)
    return answering_with(model.net, assistant, run)


class Rehearsed(Exception):  # noqa: N818  (nothing went wrong)
    """Ends a rehearsal before anything is taught; `found` is what it was for."""

    def __init__(self, found: Any) -> None:
        super().__init__("a rehearsal has ended")
        self.found = found


@dataclass(frozen=True)
class Part(Sequence[Encoded]):
    """Some sequences of a source, by index; nothing is copied."""

    source: Sequence[Encoded]
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, at: int) -> Encoded: ...

    @overload
    def __getitem__(self, at: slice) -> Part: ...

    def __getitem__(self, at: int | slice) -> Encoded | Part:
        if isinstance(at, slice):
            return Part(self.source, self.indices[at])
        return self.source[int(self.indices[at])]


@dataclass(frozen=True)
class Course:
    """Sequences taught for some epochs, `batch` at a time, each epoch in an order of its own drawn from the seed.

    `sequences` may be larger than memory. `model` is the one taught: with it the run is watched for forgetting, and
    its tokenizer shows a sample beforehand. `aside`: given sequences to measure on, in place of some of those taught.
    """

    sequences: Sequence[Encoded]
    epochs: float
    batch: int
    seed: int
    pack: Pack
    model: Model | None = None
    aside: tuple[Encoded, ...] = ()

    @property
    def steps_an_epoch(self) -> int:
        """The last batch of an epoch may be smaller."""
        return -(-len(self.sequences) // self.batch)

    def rows(self, step: int) -> tuple[Row, ...]:
        """The packed rows of one step; the same for the same step, whatever came before."""
        epoch, position = divmod(step, self.steps_an_epoch)
        order = _order(self.seed, epoch, len(self.sequences))
        chosen = order[position * self.batch : (position + 1) * self.batch]
        return self.pack.pack(self.sequences[int(i)] for i in chosen)

    def plan(self, route: Settings, run: Run, learning_rate: float, unit: str) -> Plan:
        """The loop's orders, said aloud with how the number of steps comes about.

        Some sequences are held out to measure on (`run.guards`). The order to look before teaching is in the plan, too:
        a pre-flight check, or the rehearsal that `run` asks for.
        """
        from shuyuan.teach.watching import drawn_aside, held_out, watch_over
        from shuyuan.train.loop import Plan

        tokens, targets, mark = self._content(type(route).__name__, route.model_dump(), run.guards.model_dump())
        all_tokens = round(tokens * self.epochs)
        aside = () if self.aside else held_out(self.sequences, run.guards, self.seed, all_tokens)
        taught = self.without(aside)
        steps = max(1, round(taught.steps_an_epoch * self.epochs))
        say(
            f"{run.name}: {steps:,} steps = {self.epochs:.4g} epochs × {len(taught.sequences):,} {unit}"
            f" / {self.batch}; {tokens:,} tokens an epoch, {targets:,} learned"
        )
        held = [self.sequences[i] for i in aside]
        if self.aside:
            held = [self.aside[i] for i in drawn_aside(self.aside, len(self.aside), self.seed, all_tokens)]
        watch = watch_over(held, self.model, self.pack, run.guards, steps=steps, tokens=all_tokens)
        plan = Plan(f"teaching {run.name}", steps, taught.rows, learning_rate, run.folder, mark, watch=watch)
        return replace(plan, before=partial(_before, taught, run=run))

    def without(self, aside: Sequence[int]) -> Course:
        """This course less the sequences of these indices."""
        rest = np.delete(np.arange(len(self.sequences)), np.array(aside, int))
        return replace(self, sequences=Part(self.sequences, rest)) if aside else self

    def _content(self, *settings: object) -> tuple[int, int, str]:
        """The tokens of an epoch, those learned, and a mark that changes with any of them and with the settings."""
        tokens, targets, content = 0, 0, hashlib.sha256()
        for sequence in self.sequences:
            tokens += len(sequence.ids)
            targets += sequence.targets
            content.update(np.array(sequence.ids, np.int32).tobytes() + bytes(sequence.learned))
        return tokens, targets, fingerprint(*settings, self.seed, content.hexdigest())


def _before(
    course: Course, plan: Plan, net: torch.nn.Module, learned: Mapping[str, torch.Tensor], loss: Loss, *, run: Run
) -> None:
    """What is done before the first step: look, and begin; or rehearse what the run asks for, and end there."""
    from shuyuan.teach.preflight import look_over
    from shuyuan.teach.tune import choose_rate_and_epochs

    if run.tune_seconds:
        raise Rehearsed(choose_rate_and_epochs(course, plan, net, learned, loss, seconds=run.tune_seconds))
    found = look_over(course, plan, net, learned, loss)
    if run.dry:
        raise Rehearsed(found)
    say(found.short())
    write_json(run.folder / ESTIMATE, {"seconds": found.seconds, "peak_bytes": found.peak_bytes})


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)
