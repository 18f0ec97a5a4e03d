"""Does one text say in Chinese what another says in English? Asked of a language model that knows both.

A text surprises a model less when its translation stands before it. How much less, in nats a token, tells translations
from texts on one topic better than where an embedder puts them. Two things would mislead: a name that stands in both
is copied whatever else they say, so only what the other text has not in the same letters counts; and one word that
happens to fit gains more than it should, so a token counts by `MOST` nats at most.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

Told = Sequence[tuple[int, int, float]]  # of each token where it begins and ends in its text, and its nats, below 0
Tells = Callable[[Sequence[tuple[str, str]]], Sequence[Told]]  # (text before, text) → what a model makes of the latter
Gains = Callable[[Sequence[tuple[str, str]]], Sequence[float]]  # as `gains` does

LABELS = {"en": "English: ", "zh": "中文："}  # languages that are asked about
MOST = 4.0  # nats that a token gains or loses at most
FEW = 8  # tokens without a gain that are counted in, so that a title of three words is not sure
_SHOWN = (
    {"en": "What is the name of the ship?", "zh": "这艘船叫什么名字？"},
    {"en": "How many books may be borrowed a week at most?", "zh": "每周最多能借几本书？"},
)
_UNKNOWN = "…"
_LONGEST = 600  # characters of a text that are read
_WORDS = re.compile(r"[A-Za-z0-9]+")
_WIDE = {code: code - 0xFEE0 for code in range(ord("！"), ord("～")) if chr(code - 0xFEE0).isalnum()}


def gains(pairs: Sequence[tuple[str, str]], tells: Tells) -> list[float]:
    """For each pair of an English and a Chinese text the nats that a token of one gains by the other, about -1 to 3.

    The mean of both directions. What a token gains is seen against the same text after a text that is not told.
    """
    both = [{"en": _line(english), "zh": _line(chinese)} for english, chinese in pairs]
    ways = [_one_way(both, first, then, tells) for first, then in (("en", "zh"), ("zh", "en"))]
    return [sum(gained) / len(ways) for gained in zip(*ways, strict=True)]


def _one_way(both: Sequence[dict[str, str]], first: str, then: str, tells: Tells) -> list[float]:
    shown = "".join(f"{LABELS[first]}{one[first]}\n{LABELS[then]}{one[then]}\n\n" for one in _SHOWN)

    def tell(texts: Sequence[tuple[str, str]]) -> Sequence[Told]:
        return tells([(f"{shown}{LABELS[first]}{before}\n{LABELS[then]}", text) for before, text in texts])

    alone = sorted({pair[then] for pair in both})
    without = dict(zip(alone, tell([(_UNKNOWN, text) for text in alone]), strict=True))
    after = tell([(pair[first], pair[then]) for pair in both])
    return [_gained(pair[then], pair[first], one, without[pair[then]]) for pair, one in zip(both, after, strict=True)]


def _gained(text: str, other: str, after: Told, without: Told) -> float:
    """What the tokens of `text` gain that say something which does not stand in `other` in the same letters."""
    there = {word.lower() for word in _WORDS.findall(other)}
    shared = {at for word in _WORDS.finditer(text) if word.group().lower() in there for at in range(*word.span())}
    gained = [
        one - alone
        for (start, end, one), (_, _, alone) in zip(after, without, strict=True)
        if any(text[at].isalnum() and at not in shared for at in range(start, end))
    ]
    return float(np.clip(gained, -MOST, MOST).sum() / (len(gained) + FEW))


def _line(text: str) -> str:
    """The beginning of a text in one line, its letters and digits in one width."""
    return " ".join(text[:_LONGEST].translate(_WIDE).split())
