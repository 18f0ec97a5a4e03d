"""Before anything is taught: what will be learned, whether it fits this model, and what it will cost."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from shuyuan.base.errors import Fixable
from shuyuan.base.progress import human_bytes, human_seconds
from shuyuan.prepare.chat import Encoded
from shuyuan.prepare.endings import Pair
from shuyuan.prepare.pack import tokens_of
from shuyuan.teach.cost import measured
from shuyuan.teach.watching import LOOKING_COST
from shuyuan.train.loop import Loss, Plan, gradients, prepared
from shuyuan.train.optimiser import AdamW
from shuyuan.train.supervised import Supervised

if TYPE_CHECKING:
    from shuyuan.load.model import Model
    from shuyuan.teach.course import Course

MOST_COMPARED = 100_000  # sequences looked at for duplicates and their ends
SAMPLE_CHARACTERS = 1500
LEARNED = "⟦", "⟧"
LOSS_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 3e-2}  # relative, beside as many nats a token
MOST_PARITY = 256  # tokens of the sequence whose loss is computed twice
_BAR = 40
_UPDATED = 1 << 22  # weights the update is timed on


@dataclass(frozen=True)
class Preflight:
    """What was found. `lengths` counts sequences by the power of two that their tokens fit in.

    `difference` is between our loss and the model's own, in nats a token. `seconds` and `peak_bytes` are estimates.
    """

    title: str
    sequences: int
    held_out: int
    steps: int
    tokens: int
    lengths: tuple[tuple[int, int], ...]
    sample: str
    repeated: int
    contradictory: int
    unended: int
    difference: float
    longest_batch: int
    seconds: float
    peak_bytes: int
    free_bytes: int | None
    questions: int = 0

    def __str__(self) -> str:
        widest = max(count for _, count in self.lengths)
        bars = "\n".join(
            f"  ≤ {size:>6,} tokens {'█' * -(-count * _BAR // widest)} {count:,}" for size, count in self.lengths
        )
        return f"""{self.title}: looked over, nothing was taught
{self.sequences:,} sequences to learn, {self.held_out:,} held out, {self.steps:,} steps, {self.tokens:,} tokens an epoch
{bars}
a sample, learned where it stands between {LEARNED[0]} and {LEARNED[1]}:
  {self.sample.replace(chr(10), chr(10) + "  ")}
{self._doubts()}; none of {self.questions:,} exam questions stands in the lessons
{self._cost()}"""

    def short(self) -> str:
        """In one line or two, before a run."""
        return f"{self._doubts()}\n{self._cost()}"

    def _doubts(self) -> str:
        found = {
            "the same as another": self.repeated,
            "with the same question as another and a different answer": self.contradictory,
            "cut before their end": self.unended,
        }
        doubts = ", ".join(f"{count:,} {what}" for what, count in found.items() if count)
        return f"loss as the model computes it (± {self.difference:.0e}); " + (
            f"sequences {doubts}" if doubts else "no sequence is doubtful"
        )

    def _cost(self) -> str:
        text = f"about {human_seconds(self.seconds)} and {human_bytes(self.peak_bytes)} of memory"
        text += f"; the longest batch has {self.longest_batch:,} tokens and fits"
        if self.free_bytes is not None and self.free_bytes < 0:
            text += (
                f"\nthis is {human_bytes(-self.free_bytes)} more than is free: close other programs, or lower --batch"
            )
        return text


def look_over(course: Course, plan: Plan, net: torch.nn.Module, learned: Mapping[str, Tensor], loss: Loss) -> Preflight:
    """Check what a plan will teach; no weight changes. What makes teaching senseless is a `Fixable`."""
    looked_at = list(islice(course.sequences, MOST_COMPARED))
    unended = _unended(looked_at, _end_tokens(net, course))
    difference = check_loss(net, learned, looked_at)
    longest = course.pack.pack(heapq.nlargest(course.batch, course.sequences, key=lambda s: len(s.ids)))
    usual = plan.batch(0)
    with measured() as cost:
        try:
            with prepared(net, learned), torch.random.fork_rng():
                began = _now()
                loss.meet((*longest, *usual))
                met = (_now() - began) / sum(len(s.ids) for s in {*chain.from_iterable((*longest, *usual))})
                for rows in (longest, usual):
                    began = _now()
                    gradients(net, loss, rows)
                    taught = (_now() - began) / tokens_of(rows)
                    _forget(learned)
        except RuntimeError as error:
            raise _too_large(error, tokens_of(longest)) from error
    tokens = sum(len(sequence.ids) for sequence in course.sequences)
    counts = Counter(1 << (len(sequence.ids) - 1).bit_length() for sequence in course.sequences)
    state_bytes = sum(w.numel() * (10 if w.dtype == torch.bfloat16 else 8) for w in learned.values())
    held_out, general = plan.watch.held_out.tokens, plan.watch.general.tokens
    looked = (held_out + general) * len(plan.watch.moments) * LOOKING_COST
    seconds = taught * (tokens * course.epochs + looked) + met * (tokens + held_out)
    repeated, contradictory = _duplicates(looked_at)
    return Preflight(
        title=plan.title,
        sequences=len(course.sequences),
        held_out=sum(len(row) for row in plan.watch.held_out.rows),
        steps=plan.steps,
        tokens=tokens,
        lengths=tuple(sorted(counts.items())),
        sample=_sample(looked_at, course),
        repeated=repeated,
        contradictory=contradictory,
        unended=unended,
        difference=difference,
        longest_batch=tokens_of(longest),
        seconds=round(seconds + _update_seconds(learned) * plan.steps, 1),
        peak_bytes=int(cost["peak_bytes"]) + state_bytes,
        free_bytes=_free_bytes(state_bytes),
    )


def check_loss(net: torch.nn.Module, learned: Mapping[str, Tensor], sequences: Sequence[Encoded]) -> float:
    """How far our loss of learned tokens is from the model's own on one short sequence, in nats a token.

    A model whose output layer does something special (caps or scales its logits) would be taught something else than
    it computes when it answers: refused.
    """
    shortest = min((s for s in sequences if s.targets), key=lambda s: len(s.ids)).parts[0]
    first = max(0, shortest.learned.index(True, 1) - MOST_PARITY // 2)
    part = Encoded(shortest.ids[first:][:MOST_PARITY], shortest.learned[first:][:MOST_PARITY], shortest.source)
    weight = net.get_input_embeddings().weight  # type: ignore[operator]
    ids = torch.tensor([part.ids], device=weight.device)
    targets = [i if on else -100 for i, on in zip(part.ids, part.learned, strict=True)]
    labels = torch.tensor([targets], device=weight.device)
    with torch.no_grad():
        theirs = float(net(input_ids=ids, labels=labels, use_cache=False).loss)
        with prepared(net, learned):
            ours = Supervised().loss(net, (part,)).item() / part.targets
    tolerance = LOSS_TOLERANCE[weight.dtype]
    if not abs(ours - theirs) <= tolerance * (1 + abs(theirs)):
        raise Fixable(
            f"this model computes its loss in a way of its own: {theirs:.4f} nats a token, and we get {ours:.4f}",
            "it cannot be taught here yet; choose another base model",
        )
    return abs(ours - theirs)


def _end_tokens(net: torch.nn.Module, course: Course) -> frozenset[int]:
    return course.model.end_tokens if course.model else frozenset()


def _unended(sequences: Sequence[Encoded], ends: frozenset[int]) -> int:
    """How many learned answers do not end with a token that ends an answer; `Fixable` when none does.

    Raw text holds no answers.
    """
    lasts = [
        part.ids[at] in ends
        for sequence in sequences
        for part in sequence.parts
        if not _is_raw(part)
        for at in range(len(part.ids))
        if part.learned[at] and not (at + 1 < len(part.ids) and part.learned[at + 1])
    ]
    if ends and lasts and not any(lasts):
        raise Fixable(
            "no learned answer ends with a token that ends an answer for this model, so it would never learn to stop",
            "set eos_token_id in the model's generation_config.json to the token with which its chat template ends a "
            "turn, or raise --longest if all examples were cut",
        )
    return len(lasts) - sum(lasts) if ends else 0


def _is_raw(sequence: Encoded) -> bool:
    """Whether it is text read from its start, every token of which is learned, and no conversation."""
    return all(sequence.learned[1:])


def _duplicates(sequences: Sequence[Encoded]) -> tuple[int, int]:
    """How many sequences are the same as an earlier one, and how many ask the same and learn something else.

    A pair asks which of two endings is better.
    """
    whole: set[int] = set()
    asked: dict[int, int] = {}
    repeated = contradictory = 0
    for sequence in sequences:
        content = hash((sequence.ids, sequence.learned))
        question = hash(_asked(sequence))
        repeated += content in whole
        known = asked.setdefault(question, content)
        contradictory += known != content and content not in whole and not _is_raw(sequence)
        whole.add(content)
    return repeated, contradictory


def _asked(sequence: Encoded) -> object:
    if isinstance(sequence, Pair):
        return frozenset(part.ids for part in sequence.parts)
    return tuple(i for i, on in zip(sequence.ids, sequence.learned, strict=True) if not on)


def _sample(sequences: Sequence[Encoded], course: Course) -> str:
    """The sequence of middling length as the model reads it, its learned tokens between brackets; of a pair both."""
    if course.model is None:
        return "(no tokenizer is known)"
    chosen = sorted(sequences, key=lambda s: len(s.ids))[len(sequences) // 2]
    text = "\nis to be better than\n".join(_shown(part, course.model) for part in chosen.parts)
    return f"{text}\n({chosen.source})"


def _shown(sequence: Encoded, model: Model) -> str:
    text, start = "", 0
    for at in range(1, len(sequence.ids) + 1):
        if at == len(sequence.ids) or sequence.learned[at] != sequence.learned[start]:
            piece = str(model.tokenizer.decode(sequence.ids[start:at], skip_special_tokens=False))
            text += f"{LEARNED[0]}{piece}{LEARNED[1]}" if sequence.learned[start] else piece
            start = at
    if len(text) > SAMPLE_CHARACTERS:
        half = SAMPLE_CHARACTERS // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half:,} characters …\n{text[-half:]}"
    return text


def _update_seconds(learned: Mapping[str, Tensor]) -> float:
    """What one update of the weights takes, timed on a copy of a few of them."""
    copies: dict[str, Tensor] = {}
    for name, weight in sorted(learned.items(), key=lambda item: item[1].numel()):
        copies[name] = weight.detach().clone()
        if sum(copy.numel() for copy in copies.values()) > _UPDATED:
            break
    optimiser = AdamW(copies)
    for _ in range(2):  # the first one touches its memory for the first time
        for copy in copies.values():
            copy.grad = torch.zeros_like(copy)
        began = _now()
        optimiser.gradient_norm()
        optimiser.step(0.0)
        spent = _now() - began
    return spent * sum(w.numel() for w in learned.values()) / sum(copy.numel() for copy in copies.values())


def _forget(learned: Mapping[str, Tensor]) -> None:
    for weight in learned.values():
        weight.grad = None


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()


def _too_large(error: RuntimeError, tokens: int) -> Exception:
    if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
        return Fixable(
            f"the longest batch, {tokens:,} tokens, does not fit into this machine's memory",
            "lower --batch or --longest, choose a smaller base model, or teach lora instead of full",
        )
    return error


def _free_bytes(still_needed: int) -> int | None:
    """What is left of the free memory once the optimiser's state is there, too; None where the system does not say."""
    file = Path("/proc/meminfo")
    if torch.cuda.is_available() or not file.exists():
        return None
    lines = dict(line.split(":", 1) for line in file.read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024 - still_needed
