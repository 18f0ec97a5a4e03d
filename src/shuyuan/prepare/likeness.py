"""Do two like texts ask the same, be they in one language or in two? Told token by token.

A cosine of whole texts says that two questions are on one topic; two of them about the exit codes of one program lie
as near as two wordings of one. What tells them apart are the tokens that they do not share: each of these looks for the
most like it in the other text, in its place (late interaction; Khattab & Zaharia, 2020). Names stand in both in the
same letters and would only hide what differs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from shuyuan.prepare.normal import WRITTEN_NUMBERS, units

Read = tuple[Sequence[int], NDArray[np.float32]]  # a text's tokens, and of each a vector of length one [tokens, width]
Reads = Callable[[Sequence[str]], Sequence[Read]]  # the vectors are freed of what only says the language

_PARTS = re.compile(r"[-_/]")


def likeness(pairs: Sequence[tuple[str, str]], read: Reads) -> list[float]:
    """For each pair of texts how well they cover each other, about 0 to 1: the smaller of the two directions.

    Tokens count by how few of all these texts hold them. A text whose every token stands in the other one: 1.
    """
    texts = sorted({text for pair in pairs for text in pair})
    reads = dict(zip(texts, read(texts), strict=True)) if texts else {}
    holding = Counter(token for tokens, _ in reads.values() for token in set(tokens))
    rarity = {token: float(np.log((len(texts) + 1) / (count + 0.5))) + 1e-3 for token, count in holding.items()}
    return [min(_covered(reads[a], reads[b], rarity), _covered(reads[b], reads[a], rarity)) for a, b in pairs]


def _covered(one: Read, other: Read, rarity: dict[int, float]) -> float:
    """How like what `one` says is to something in `other`, over the tokens that `other` has not."""
    there = set(other[0])
    own = [at for at, token in enumerate(one[0]) if token not in there]
    if not own or not there:
        return float(not own)
    best = (one[1][own] @ other[1].T).max(1)
    return float(np.average(best, weights=[rarity[one[0][at]] for at in own]))


def other_names(one: str, other: str) -> bool:
    """Whether one of two texts holds a number or a name that the other lacks, so that they ask different things.

    A name is seen in a text in Chinese: a word in Latin letters. Small numbers written out are found as digits too.
    """
    words = [[part for word in units(text) for part in _PARTS.split(word) if part] for text in (one, other)]
    for own, others in (words, words[::-1]):
        chinese = any("\u4e00" <= word[0] <= "\u9fff" for word in own)
        there = {*others, *(WRITTEN_NUMBERS[word] for word in others if word in WRITTEN_NUMBERS)}
        names = {word for word in own if (chinese and word.isascii()) or any(letter.isdigit() for letter in word)}
        for name in names - there:
            if not (name.isalpha() and any(word.startswith(name) for word in there)):  # token, tokens
                return True
    return False
