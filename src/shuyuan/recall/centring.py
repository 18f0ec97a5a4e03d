"""Take out of a vector what only says in which language its text is.

A multilingual encoder keeps the texts of each language together, apart from those of the others, so a Chinese question
finds a hundred Chinese passages before the English one that answers it. The place of a language as a whole is the mean
of texts in it; with that taken off, meaning is what is left. Measured in bench/results/documents.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Literal

import numpy as np

from shuyuan.read.language import language
from shuyuan.store.contract import Vectors

if TYPE_CHECKING:
    from shuyuan.recall.embedding import Embeds

SHARE = 0.85  # of the mean; with all of it, search inside one language loses a little
_KINDS: Mapping[str, Literal["query", "passage"]] = {"?": "query", ".": "passage"}


class Centres:
    """Where an embedder puts each language as such. `plain`: language and kind of text → a mean vector, for JSON."""

    def __init__(self, plain: Mapping[str, Sequence[float]]) -> None:
        self.plain = plain
        self._means = {name: np.array(mean, np.float32) for name, mean in plain.items()}

    @classmethod
    def learn(cls, embedder: Embeds) -> Centres:
        """From the parallel lines of `languages.txt`."""
        means = {}
        for name, of in _lines().items():
            kind: Literal["query", "passage"] = "query" if name.endswith("query") else "passage"
            means[name] = [round(float(number), 6) for number in embedder.embed(of, kind).mean(0)]
        return cls(means)

    def taken_off(self, vectors: Vectors, texts: Sequence[str], kind: Literal["query", "passage"]) -> Vectors:
        """Unit vectors [n, width] of `texts`, without their languages' means; other languages lose the mean of all."""
        if not len(vectors):
            return vectors
        known = {name.split()[0]: mean for name, mean in self._means.items() if name.endswith(kind)}
        other = np.asarray(np.mean(list(known.values()), axis=0), np.float32)
        centres = np.stack([known.get(language(text), other) for text in texts])
        left = vectors - SHARE * centres
        return np.asarray(left / np.maximum(np.linalg.norm(left, axis=1, keepdims=True), 1e-9), np.float32)


def reader(embedder: Embeds) -> Callable[[Sequence[str]], list[tuple[list[int], Vectors]]]:
    """How `embedder` reads questions token by token, without what only says their language.

    Of each text its tokens, and float32 [tokens, width] of length one: what five sixths of the layers make of them.
    """
    asked = {name.split()[0]: of for name, of in _lines().items() if name.endswith("query")}
    means = {
        name: np.concatenate([states[0] for _, states in embedder.read(of, "query")]).mean(0, dtype=np.float32)
        for name, of in asked.items()
    }
    other = np.asarray(np.mean(list(means.values()), axis=0), np.float32)

    def read(texts: Sequence[str]) -> list[tuple[list[int], Vectors]]:
        found = []
        for text, (tokens, states) in zip(texts, embedder.read(texts, "query"), strict=True):
            left = states[0].astype(np.float32) - means.get(language(text), other)
            found.append((tokens, left / np.maximum(np.linalg.norm(left, axis=1, keepdims=True), 1e-9)))
        return found

    return read


def _lines() -> dict[str, list[str]]:
    """The lines of `languages.txt`, by language and kind of text."""
    lines: dict[str, list[str]] = {}
    for line in resources.files(__package__).joinpath("languages.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, mark, text = line.split(" ", 2)
            lines.setdefault(f"{name} {_KINDS[mark]}", []).append(text)
    return lines
