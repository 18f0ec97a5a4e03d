"""The one loop. It knows no route: which weights learn, which batches come and what the loss is are handed to it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from shuyuan.base.errors import Fixable
from shuyuan.base.files import append_jsonl, read_jsonl
from shuyuan.base.progress import Bar, say
from shuyuan.prepare.pack import Row, tokens_of
from shuyuan.train.attention import NAME as PACKED_ATTENTION
from shuyuan.train.checkpoint import newest_checkpoint, save_checkpoint
from shuyuan.train.optimiser import AdamW
from shuyuan.train.schedule import warmup_cosine

CHECKPOINT_EVERY = 50  # steps
CLIP_NORM = 1.0
LOG = "log.jsonl"


class Loss(Protocol):
    """What a file in this room offers the loop."""

    def loss(self, net: torch.nn.Module, row: Row) -> Tensor:
        """The loss of a packed row, summed over the tokens that count: a float32 scalar with a gradient."""


@dataclass(frozen=True)
class Plan:
    """What one run of the loop is to do. `batch(step)` gives a step's packed rows and depends on the step alone."""

    title: str
    steps: int
    batch: Callable[[int], Sequence[Row]]
    learning_rate: float
    folder: Path
    fingerprint: str


@dataclass(frozen=True)
class Fitted:
    """What happened: the loss of each step (nats a learned token), and the tokens computed on in this process."""

    losses: tuple[float, ...]
    tokens: int


def fit(net: torch.nn.Module, learned: dict[str, Tensor], loss: Loss, plan: Plan) -> Fitted:
    """Teach `learned`, the weights of `net` that may move, and leave every other weight as it is.

    Goes on from the newest whole checkpoint in `plan.folder/checkpoints`; a stopped and resumed run equals an
    uninterrupted one bit for bit on the same machine. `log.jsonl` gets one line a step. A loss or gradient that is not
    finite stops the run before the update, naming the examples.
    """
    net.requires_grad_(False)
    for weight in learned.values():
        weight.requires_grad_(True)
    with _prepared(net):
        return _steps(net, AdamW(learned), loss, plan)


@contextmanager
def _prepared(net: torch.nn.Module) -> Iterator[None]:
    """Packed attention; and where the output layer is the embedding, a lookup adds to the rows it used only."""
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


def _steps(net: torch.nn.Module, optimiser: AdamW, loss: Loss, plan: Plan) -> Fitted:
    losses = _resume(optimiser, plan)
    tokens = 0
    began = time.monotonic()
    with Bar(plan.title, plan.steps, "steps", done=len(losses)) as bar:
        for step in range(len(losses), plan.steps):
            rows = plan.batch(step)
            targets = sum(sequence.targets for row in rows for sequence in row)
            value = 0.0
            for row in rows:
                part = loss.loss(net, row) / targets
                part.backward()  # type: ignore[no-untyped-call]
                value += part.item()
            norm = optimiser.gradient_norm().item()
            if not math.isfinite(value + norm):
                raise _diverged(step, value, norm, rows)
            rate = plan.learning_rate * warmup_cosine(step, plan.steps)
            optimiser.step(rate, scale=min(1.0, CLIP_NORM / (norm + 1e-6)))
            losses.append(value)
            tokens += tokens_of(rows)
            said = {"step": step + 1, "steps": plan.steps, "loss": value, "gradient_norm": norm, "learning_rate": rate}
            spent = {"tokens": tokens_of(rows), "targets": targets, "seconds": round(time.monotonic() - began, 3)}
            append_jsonl(plan.folder / LOG, [said | spent])
            if (step + 1) % CHECKPOINT_EVERY == 0 and step + 1 < plan.steps:
                _save(optimiser, plan, losses)
            bar.advance(note=f"loss {value:.3f}")
    return Fitted(tuple(losses), tokens)


def _resume(optimiser: AdamW, plan: Plan) -> list[float]:
    """The losses so far. The log is cut back to the checkpoint: what came after it will happen again."""
    found = newest_checkpoint(plan.folder / "checkpoints", plan.fingerprint)
    log = read_jsonl(plan.folder / LOG) if found else []
    (plan.folder / LOG).unlink(missing_ok=True)
    if found is None:
        return []
    tensors, notes = found
    append_jsonl(plan.folder / LOG, [line for line in log if line["step"] <= notes["step"]])
    optimiser.load(tensors, notes["step"])
    say(f"{plan.title}: going on from step {notes['step']} of {plan.steps}")
    return list(notes["losses"])


def _save(optimiser: AdamW, plan: Plan, losses: list[float]) -> None:
    notes = {"fingerprint": plan.fingerprint, "losses": losses}
    save_checkpoint(plan.folder / "checkpoints", optimiser.steps, optimiser.state(), notes)


def _diverged(step: int, loss: float, norm: float, rows: Sequence[Row]) -> Fixable:
    sources = sorted({sequence.source for row in rows for sequence in row})
    return Fixable(
        f"the loss ({loss}) or the gradient ({norm}) is not a number at step {step + 1}; the weights were not changed",
        f"look at these examples, or lower the learning rate: {', '.join(sources[:8])}",
    )
