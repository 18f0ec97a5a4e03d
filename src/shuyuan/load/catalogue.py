"""The models known by name: what each is, and where its one file can be had."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

Kind = Literal["language", "embedder"]
Language = Literal["en", "zh"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file to fetch. `bytes` 0 and `sha256` "" mean that any content will do (a person's own file)."""

    file: str
    bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of `catalogue.toml`; `about` says what it is, in both languages.

    `quantised` is the number format its weights were published in: they are turned back into `stored` when the model is
    fetched, which does not bring back what rounding lost. `sources` are tried in order. `evidence`: of an embedder,
    what passages hold of nearly every question that they answer, measured (`recall/evidence.py`); 0: not known.
    `translates`: of a language model, whether its word on what is a translation was measured (`bench/leaks.py`).
    """

    name: str
    kind: Kind
    about: Mapping[Language, str]
    languages: tuple[str, ...]
    licence: str
    quantised: str
    format: str
    wanted: Wanted
    stored: str
    dtype: str
    tied: bool
    sources: tuple[Mapping[str, Any], ...]
    evidence: float = 0.0
    translates: bool = False


@cache
def entries() -> dict[str, Entry]:
    """Every model known by name, in the order of the file."""
    rows = tomllib.loads((Path(__file__).parent / "catalogue.toml").read_text(encoding="utf-8"))
    return {
        name: Entry(
            name=name,
            wanted=Wanted(row.pop("file"), row.pop("bytes"), row.pop("sha256")),
            languages=tuple(row.pop("languages")),
            sources=tuple(row.pop("sources")),
            tied=row.pop("tied", False),
            **row,
        )
        for name, row in rows.items()
    }
