"""The one loop. It knows no route: which weights learn, which batches come and what the loss is are handed to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from shuyuan.base.files import append_jsonl, read_jsonl
from shuyuan.base.progress import Bar, say
from shuyuan.prepare.pack import Row, tokens_of
from shuyuan.train.alarm import check_step
from shuyuan.train.attention import NAME as PACKED_ATTENTION
from shuyuan.train.checkpoint import newest_checkpoint, save_checkpoint
from shuyuan.train.optimiser import AdamW
from shuyuan.train.schedule import warmup_cosine
from shuyuan.train.watch import Look, Watch, Watcher

CHECKPOINT_EVERY = 50  # steps
CLIP_NORM = 1.0
LOG = "log.jsonl"


class Loss(Protocol):
    """What a file in this room offers the loop. `unit`: what it counts as a target, in a word."""

    unit: ClassVar[str]

    def meet(self, rows: Sequence[Row]) -> None:
        """Compute now what `loss` computes of rows only once, when it first meets them."""

    def loss(self, net: torch.nn.Module, row: Row) -> Tensor:
        """The loss of a packed row, summed over the targets in it: a float32 scalar with a gradient."""

    def figures(self, rows: Sequence[Row]) -> dict[str, float]:
        """What else is known of rows whose loss was just computed, by name, for the log."""


@dataclass(frozen=True)
class Plan:
    """What one run of the loop is to do. `batch(step)` gives a step's packed rows and depends on the step alone.

    `rates` are factors of the learning rate for the weights that have one of their own, by name. `watch` says what is
    looked at meanwhile. `before` is called with the plan, the net, its learned weights and the loss before anything
    else; it must leave them as they are, and what it raises ends the run.
    """

    title: str
    steps: int
    batch: Callable[[int], Sequence[Row]]
    learning_rate: float
    folder: Path
    fingerprint: str
    rates: Mapping[str, float] = field(default_factory=dict)
    watch: Watch = field(default_factory=Watch)
    before: Callable[[Plan, torch.nn.Module, Mapping[str, Tensor], Loss], None] | None = None
    checkpoint_every: int = CHECKPOINT_EVERY


@dataclass(frozen=True)
class Fitted:
    """What happened: each step's loss (nats a target), the tokens read in this process, the looks."""

    losses: tuple[float, ...]
    tokens: int
    looks: tuple[Look, ...] = ()


def fit(net: torch.nn.Module, learned: Mapping[str, Tensor], loss: Loss, plan: Plan) -> Fitted:
    """Teach `learned`, the weights of `net` that may move, and leave every other weight as it is.

    Goes on from the newest whole checkpoint in `plan.folder/checkpoints`; a stopped and resumed run equals an
    uninterrupted one bit for bit on the same machine. `log.jsonl` gets one line a step, with what was looked at after
    it (line 0: before the first). A run that its watch stops early ends with the best weights it had. A loss or
    gradient that is not finite, or a loss that has left its course, stops it before the update, naming the examples.
    """
    if plan.before:
        plan.before(plan, net, learned, loss)
    with prepared(net, learned):
        return _steps(net, AdamW(learned, rates=plan.rates), loss, plan)


@contextmanager
def prepared(net: torch.nn.Module, learned: Mapping[str, Tensor]) -> Iterator[None]:
    """Gradients for the learned weights; packed attention; a tied embedding's lookup adds to the rows it used only."""
    net.requires_grad_(False)
    for weight in learned.values():
        weight.requires_grad_(True)
    attention = net.config._attn_implementation  # type: ignore[union-attr]
    embedding = net.get_input_embeddings()  # type: ignore[operator]
    head = net.get_output_embeddings()  # type: ignore[operator]
    net.set_attn_implementation(PACKED_ATTENTION)  # type: ignore[operator]
    embedding.sparse = head is not None and head.weight is embedding.weight
    try:
        yield
    finally:
        net.set_attn_implementation(attention)  # type: ignore[operator]
        embedding.sparse = False
        net.requires_grad_(False)


def gradients(net: torch.nn.Module, loss: Loss, rows: Sequence[Row]) -> float:
    """Add the gradients of a step's rows to the weights; its loss in nats a target, in whichever rows."""
    targets = sum(sequence.targets for row in rows for sequence in row)
    value = 0.0
    for row in rows:
        part = loss.loss(net, row) / targets
        part.backward()  # type: ignore[no-untyped-call]
        value += part.item()
    return value


def _steps(net: torch.nn.Module, optimiser: AdamW, loss: Loss, plan: Plan) -> Fitted:
    losses, looks, seconds_before = _resume(optimiser, plan)
    checkpoints = plan.folder / "checkpoints"
    watcher = Watcher(net, optimiser.weights, loss, plan.watch, checkpoints, mark=plan.fingerprint, looks=looks)
    began, tokens = time.monotonic() - seconds_before, 0
    if not losses and (seen := watcher.look(0)):
        append_jsonl(plan.folder / LOG, [{"step": 0, "steps": plan.steps, "tokens": 0, "seconds": 0.0} | seen])
    with Bar(plan.title, plan.steps, "steps", done=len(losses)) as bar:
        for step in range(len(losses), plan.steps):
            rows = plan.batch(step)
            value = gradients(net, loss, rows)
            norm = optimiser.gradient_norm().item()
            check_step(losses, value, norm, rows)
            rate = plan.learning_rate * warmup_cosine(step, plan.steps) * watcher.standing.factor
            optimiser.step(rate, scale=min(1.0, CLIP_NORM / (norm + 1e-6)))
            losses.append(value)
            tokens += tokens_of(rows)
            said = {"step": step + 1, "steps": plan.steps, "loss": value, "gradient_norm": norm, "learning_rate": rate}
            spent = {"tokens": tokens_of(rows), "targets": sum(s.targets for row in rows for s in row)}
            seen = watcher.look(step + 1)
            append_jsonl(
                plan.folder / LOG,
                [said | loss.figures(rows) | spent | {"seconds": round(time.monotonic() - began, 3)} | seen],
            )
            bar.advance(note=f"loss {value:.3f}")
            if watcher.standing.stop:
                bar.total = step + 1
                break
            if (step + 1) % plan.checkpoint_every == 0 and step + 1 < plan.steps:
                notes = {"fingerprint": plan.fingerprint, "losses": losses, "looks": [asdict(x) for x in watcher.looks]}
                save_checkpoint(checkpoints, step + 1, optimiser.state(), notes)
    watcher.finish(losses, plan.steps)
    return Fitted(tuple(losses), tokens, tuple(watcher.looks))


def _resume(optimiser: AdamW, plan: Plan) -> tuple[list[float], list[Look], float]:
    """The losses and looks so far, and the seconds they took. The log is cut back: what came after happens again."""
    found = newest_checkpoint(plan.folder / "checkpoints", plan.fingerprint)
    log: list[dict[str, Any]] = read_jsonl(plan.folder / LOG) if found else []
    (plan.folder / LOG).unlink(missing_ok=True)
    if found is None:
        return [], [], 0.0
    tensors, notes = found
    log = [line for line in log if line["step"] <= notes["step"]]
    append_jsonl(plan.folder / LOG, log)
    optimiser.load(tensors, notes["step"])
    say(f"{plan.title}: going on from step {notes['step']} of {plan.steps}")
    return list(notes["losses"]), [Look(**look) for look in notes["looks"]], log[-1]["seconds"] if log else 0.0
