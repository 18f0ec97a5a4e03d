"""Teach an encoder's upper layers to tell the passage that answers from those that search took for it.

Each question comes with one passage that holds its answer and some that were found for it and do not (hard negatives);
the loss is the cross-entropy of the right one among them (listwise softmax; Cao et al., 2007). What the untrained
reranker makes of them is part of the score from the beginning, so that only its mistakes are left to learn.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shuyuan.base.progress import Bar, human_seconds, say
from shuyuan.load.embedder import Embedder
from shuyuan.load.together import Joint
from shuyuan.recall.reranking import FIRST, Reranker, Seen, begun
from shuyuan.train.optimiser import AdamW
from shuyuan.train.schedule import warmup_cosine

MOST = 400  # questions that are learned from: a bound on time, and on memory (1.5 GB if no text is found twice)
WRONG = 5  # passages beside the right one
EPOCHS, AT_ONCE = 3, 8  # passes over the questions; questions a step
LEARNING_RATE, HEAD_RATE = 1e-4, 10.0  # of the layers, and how many times as fast the score learns
CLIP_NORM = 1.0


@dataclass(frozen=True, slots=True)
class Lesson:
    """A question, the texts found for it, best first, and the rows of those that hold its answer."""

    question: str
    texts: tuple[str, ...]
    right: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Pairs:
    """A question and its passages below the joint layers [tokens, width], the right one first; scores to begin from."""

    question: Tensor
    passages: Sequence[Tensor]
    begun_N: Tensor


def teaching(lessons: Sequence[Lesson], seed: int = 0) -> list[Lesson]:
    """Those that teach something, with a right and a wrong text; of more than `MOST`, some are drawn."""
    lessons = [one for one in lessons if 0 < len(one.right) < len(one.texts)]
    return random.Random(seed).sample(lessons, MOST) if len(lessons) > MOST else lessons


def learn(embedder: Embedder, lessons: Sequence[Lesson], seed: int = 0) -> Reranker:
    """A reranker that learned from `teaching` ones; the same from the same ones on one machine.

    Raises Fixable where the embedder is not of a form that can learn.
    """
    draw = random.Random(seed)
    joint = Joint(embedder)
    pairs = _read(Reranker(embedder, joint), [_few(lesson, draw) for lesson in lessons])
    order = [row for _ in range(EPOCHS) for row in draw.sample(range(len(pairs)), len(pairs))]
    steps = [order[start : start + AT_ONCE] for start in range(0, len(order), AT_ONCE)]
    weights = dict(joint.named_parameters())
    optimiser = AdamW(weights, rates={name: HEAD_RATE for name in weights if name.startswith("worth")})
    start = time.monotonic()
    with Bar("training the reranker", len(steps), "steps") as bar:
        for step, rows in enumerate(steps):
            loss = sum(_backward(joint, pairs[row], len(rows)) for row in rows)
            scale = min(1.0, CLIP_NORM / (optimiser.gradient_norm().item() + 1e-6))
            optimiser.step(LEARNING_RATE * warmup_cosine(step, len(steps)), scale)
            if step == 0:
                say(f"training will take about {human_seconds(len(steps) * (time.monotonic() - start))}")
            bar.advance(note=f"loss {loss:.3f}")
    return Reranker(embedder, joint.requires_grad_(False))


def _few(lesson: Lesson, draw: random.Random) -> tuple[str, tuple[str, ...], tuple[int, ...]]:
    """The question, a right text and some wrong ones, and the places where search found them."""
    wrong = [row for row in range(min(FIRST, len(lesson.texts))) if row not in lesson.right]
    rows = [draw.choice(lesson.right), *draw.sample(wrong, min(WRONG, len(wrong)))]
    return lesson.question, tuple(lesson.texts[row] for row in rows), tuple(rows)


def _read(reranker: Reranker, few: Sequence[tuple[str, tuple[str, ...], tuple[int, ...]]]) -> list[_Pairs]:
    """Each text is read once, whatever it was found for."""
    texts = list(dict.fromkeys(text for _, of, _ in few for text in of))
    seen: dict[str, Seen] = {}
    with Bar("reading what was found", len(texts)) as bar:
        for start in range(0, len(texts), 32):
            part = texts[start : start + 32]
            seen |= dict(zip(part, reranker.read(part, "passage"), strict=True))
            bar.advance(len(part))
    asked = reranker.read([question for question, _, _ in few], "query")
    found = []
    for question, (_, of, places) in zip(asked, few, strict=True):
        passages = [seen[text] for text in of]
        begun_N = torch.tensor(begun(question, passages, places), dtype=torch.float32)
        assert question.below is not None
        found.append(_Pairs(question.below, [one.below for one in passages if one.below is not None], begun_N))
    return found


def _backward(joint: Joint, pairs: _Pairs, share: int) -> float:
    """Add the gradient of one question's loss, the first passage being the right one; its part of the step's loss."""
    scores_N = joint(pairs.question, pairs.passages) + pairs.begun_N.to(pairs.question.device)
    loss = -torch.log_softmax(scores_N, 0)[0] / share
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()
