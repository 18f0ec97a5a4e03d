"""What a course holds out and looks at while it is taught, sized so that looking stays cheap beside teaching."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from shuyuan.base.guards import Guards
from shuyuan.base.progress import say
from shuyuan.prepare.chat import Encoded
from shuyuan.prepare.endings import Pair
from shuyuan.prepare.pack import Pack

if TYPE_CHECKING:
    from shuyuan.load.model import Model
    from shuyuan.train.watch import Sample, Watch

FEWEST_SEQUENCES = 40  # with fewer, every one is taught
FEWEST_HELD, MOST_HELD = 4, 64
FEWEST_LOOKS, MOST_LOOKS = 4, 12
LOOKING_COST = 0.8  # of a taught token (LOG.md): there is no way back, but in general text every position has logits
LOOKING_SHARE = 0.06  # of the tokens taught: about 5 % of the time
GENERAL_TOKENS = 384  # at least, where the general text is cut short for the time it takes


def general_text() -> tuple[str, ...]:
    """Paragraphs of general prose, English and Chinese in turn, written for this and in the public domain (CC0).

    Other text than the exam's paper on forgetting, so that no run is steered by what it is examined on.
    """
    text = (files("shuyuan.teach") / "data" / "general.txt").read_text(encoding="utf-8")
    return tuple(paragraph.strip() for paragraph in text.split("\n\n"))


def held_out(sequences: Sequence[Encoded], guards: Guards, seed: int, tokens: int) -> tuple[int, ...]:
    """Which sequences are kept aside, drawn by the seed: about the share asked for, 4 to 64, none of fewer than 40.

    `tokens` are all that the run will compute on: no more are drawn than may be looked at six times within that share.
    """
    count = len(sequences)
    if not guards.hold_out or count < FEWEST_SEQUENCES:
        return ()
    return drawn_aside(sequences, max(FEWEST_HELD, round(count * guards.hold_out)), seed, tokens)


def drawn_aside(sequences: Sequence[Encoded], wanted: int, seed: int, tokens: int) -> tuple[int, ...]:
    """Which of the sequences are looked at: `wanted` at most, and no more than the time for looking allows."""
    count = len(sequences)
    drawn = np.random.default_rng((seed, count)).permutation(count)[: min(MOST_HELD, wanted)]
    sizes = np.cumsum([len(sequences[i].ids) for i in drawn])
    fits = int(np.searchsorted(sizes, LOOKING_SHARE * tokens / 6, side="right"))
    return tuple(sorted(int(i) for i in drawn[: max(FEWEST_HELD, fits)]))


def watch_over(
    held: Iterable[Encoded], model: Model | None, pack: Pack, guards: Guards, *, steps: int, tokens: int
) -> Watch:
    """The held-out sequences and general text as rows, and the moments to look: 4 to 12, evenly spaced."""
    from shuyuan.train.watch import Sample, Watch

    aside = tuple(held)
    sample = Sample(pack.pack(aside), _size_bytes(aside, model)) if aside else Sample()
    budget = LOOKING_SHARE * tokens
    general = _general(model, pack, max(GENERAL_TOKENS, int(budget / MOST_LOOKS / 2))) if model else Sample()
    each = sample.tokens + general.tokens
    if not each:
        return Watch(guards=guards)
    looks = min(MOST_LOOKS, max(FEWEST_LOOKS, int(budget / each) - 1))  # one more stands before the first step
    moments = frozenset(round(steps * k / looks) for k in range(looks + 1))
    say(
        f"looks {len(moments) - 1} times at {len(aside)} sequences held out ({sample.tokens:,} tokens)"
        f" and {general.tokens:,} tokens of general text"
        + ("" if aside else f"; nothing is held out of fewer than {FEWEST_SEQUENCES}")
    )
    return Watch(sample, general, moments, guards)


def _general(model: Model, pack: Pack, most: int) -> Sample:
    """General text, each paragraph from the model's start token on: up to `most` tokens, but one of each language."""
    from shuyuan.train.watch import Sample

    sequences: list[Encoded] = []
    size, used = 0, 0
    for number, paragraph in enumerate(general_text()):
        ids = (model.start_token, *model.tokenizer(paragraph, add_special_tokens=False)["input_ids"])
        if len(sequences) >= 2 and used + len(ids) > most:
            break
        used += len(ids)
        size += len(paragraph.encode())
        sequences.append(Encoded(ids, (False,) + (True,) * (len(ids) - 1), f"general text {number}"))
    return Sample(pack.pack(sequences), size)


def _size_bytes(sequences: Sequence[Encoded], model: Model | None) -> int:
    """The UTF-8 bytes that the learned tokens say; those that end a turn say nothing.

    0 without a tokenizer, and for pairs, whose loss is no likelihood of what is said.
    """
    if model is None or any(isinstance(sequence, Pair) for sequence in sequences):
        return 0
    said = ([i for i, on in zip(s.ids, s.learned, strict=True) if on] for s in sequences)
    return sum(len(str(model.tokenizer.decode(ids, skip_special_tokens=True)).encode()) for ids in said)
