"""A model writes what each passage is about; that is searched with the passage, and never shown or cited.

Contextual retrieval (Anthropic, September 2024): a passage that only says "the limit is 30 days" is found by what its
document is about. What was written is kept in the workspace's cache, so a killed run goes on, and nothing is written
twice for the same words by the same assistant.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from shuyuan.base.errors import Fixable, disk_errors
from shuyuan.base.progress import Bar, human_seconds, say
from shuyuan.base.records import Assistant, Decoding, Passage, ask
from shuyuan.base.wiping import wipe
from shuyuan.read.language import language
from shuyuan.recall.ground import about_tokens, spoken

_FILE = "contexts.sqlite"
_BATCH = 16  # passages between two commits: what a kill can lose
_BEGINNING = 300  # tokens of the document's beginning that the model reads with a passage
_WRITTEN = 60  # tokens that it may write
_LONGEST = 300  # characters that are kept
_LOOKED_UP = 500  # keys per statement
_PROMPT = {
    "en": (
        "The document {source} begins:\n\n{beginning}\n\nA part of it:\n\n{text}\n\n"
        "Say in one short sentence which subject this part of the document is about."
    ),
    "zh": (
        "文档 {source} 的开头：\n\n{beginning}\n\n其中一段：\n\n{text}\n\n用一句短话说明这一段讲的是文档里的什么主题。"
    ),
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is still to be written: passages, tokens to read and to write, about, and seconds at the pace measured."""

    passages: int
    read_tokens: int
    written_tokens: int
    seconds: float

    def __str__(self) -> str:
        """One line."""
        tokens = f"about {self.read_tokens:,} tokens to read and at most {self.written_tokens:,} to write"
        return f"contexts of {self.passages:,} passages are missing: {tokens}, about {human_seconds(self.seconds)}"


def estimate(passages: Sequence[Passage], model: Assistant, cache: Path) -> Estimate:
    """What writing the contexts will cost; the first sixteen that are missing are written to measure the pace."""
    with _opened(cache) as db:
        missing = _missing(db, passages, model)
        began = time.perf_counter()
        _write(db, missing[:_BATCH], model)
        pace = (time.perf_counter() - began) / max(1, len(missing[:_BATCH]))
    left = missing[_BATCH:]
    read = sum(about_tokens(prompt) for _, prompt in left)
    return Estimate(len(left), round(read), _WRITTEN * len(left), pace * len(left))


def contextual(passages: Sequence[Passage], model: Assistant, cache: Path) -> list[Passage]:
    """The passages with their contexts, written by `model` where they are not in `cache` yet; says the cost first."""
    left = estimate(passages, model, cache)
    if left.passages:
        say(str(left))
    with _opened(cache) as db:
        missing = _missing(db, passages, model)
        if missing:
            with Bar("writing contexts", len(missing)) as bar:
                for start in range(0, len(missing), _BATCH):
                    part = missing[start : start + _BATCH]
                    _write(db, part, model)
                    bar.advance(len(part))
        prompts = _prompts(passages)
        known = _known(db, [_key(model.name, prompts[p.id]) for p in passages])
    return [replace(p, context=known[_key(model.name, prompts[p.id])]) for p in passages]


def prune_contexts(cache: Path, passages: Collection[str]) -> None:
    """Keep the contexts of these passages alone; no byte of another one is left in `cache`."""
    if not (cache / _FILE).exists():
        return
    with _opened(cache) as db:
        with db:
            there = [name for (name,) in db.execute("select distinct passage from contexts")]
            gone = [(name,) for name in there if name not in passages]
            db.executemany("delete from contexts where passage = ?", gone)
        wipe(db)


@contextmanager
def _opened(cache: Path) -> Iterator[sqlite3.Connection]:
    file = cache / _FILE
    with disk_errors(file):
        cache.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(file, timeout=30)) as db:
            db.execute("pragma journal_mode = wal")
            db.execute(
                "create table if not exists contexts (key blob primary key, passage text not null, text text not null)"
            )
            yield db
    except sqlite3.DatabaseError as error:
        hint = "free some space, or delete this file: it can be made again"
        raise Fixable(f"contexts cannot be kept: {error}", hint, file) from error


def _prompts(passages: Sequence[Passage]) -> dict[str, str]:
    """Passage id → what the model is asked; passages of a document follow one another, so that it reads them faster."""
    beginnings: dict[str, list[str]] = {}
    for passage in sorted(passages, key=lambda one: (one.document_id, one.start)):
        of = beginnings.setdefault(passage.document_id, [])
        if about_tokens("\n".join([*of, passage.text])) <= _BEGINNING or not of:
            of.append(passage.text)
    return {
        passage.id: _PROMPT[spoken(language(passage.text))].format(
            source=" > ".join((passage.source, *passage.headings)),
            beginning="\n".join(beginnings[passage.document_id]),
            text=passage.text,
        )
        for passage in passages
    }


def _missing(db: sqlite3.Connection, passages: Sequence[Passage], model: Assistant) -> list[tuple[str, str]]:
    """Passage id and prompt of each context that is not there."""
    prompts = _prompts(passages)
    known = _known(db, [_key(model.name, prompt) for prompt in prompts.values()])
    return [(name, prompt) for name, prompt in prompts.items() if _key(model.name, prompt) not in known]


def _write(db: sqlite3.Connection, missing: Sequence[tuple[str, str]], model: Assistant) -> None:
    said = model.answer([ask(prompt) for _, prompt in missing], Decoding(max_tokens=_WRITTEN)) if missing else []
    rows = [
        (_key(model.name, prompt), name, _kept(answer.text))
        for (name, prompt), answer in zip(missing, said, strict=True)
    ]
    with db:
        db.executemany("insert or ignore into contexts values (?, ?, ?)", rows)


def _known(db: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, str]:
    found: dict[bytes, str] = {}
    for start in range(0, len(keys), _LOOKED_UP):
        some = keys[start : start + _LOOKED_UP]
        marks = ",".join("?" * len(some))
        found |= dict(db.execute(f"select key, text from contexts where key in ({marks})", some).fetchall())
    return found


def _key(model: str, prompt: str) -> bytes:
    return hashlib.sha256(f"{model}\0{prompt}".encode()).digest()


def _kept(said: str) -> str:
    """The first paragraph on one line, not too long."""
    return " ".join(said.strip().partition("\n\n")[0].split())[:_LONGEST]
