"""One assistant sits the papers: in batches, resumable after any kill, and never asked twice."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from shuyuan.base.errors import Fixable
from shuyuan.base.files import append_jsonl, fingerprint, read_jsonl
from shuyuan.base.progress import Bar, say
from shuyuan.base.records import GREEDY, Answer, Assistant, Decoding, Question, ask
from shuyuan.examine.papers import Text

T = TypeVar("T")
Row = dict[str, Any]
_LONG = 4000  # characters of texts that are measured at a time


@dataclass(frozen=True, slots=True)
class Cost:
    """What teaching an assistant took, summed over all it was made on (peak: the highest)."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    trained_tokens: int = 0
    routes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who is to be examined. `key` changes whenever the assistant does; `open` is called only if need be.

    Of those with the same `weights` a text is equally likely, so it is measured once; empty: like nobody else's.
    `made` says how it was taught, first step first: what each run wrote down at its end, with its learning curve.
    """

    name: str
    key: str
    open: Callable[[], Assistant]
    cost: Cost = field(default_factory=Cost)
    made: tuple[Mapping[str, Any], ...] = ()
    weights: str = ""


@dataclass(frozen=True, slots=True)
class Asking:
    """How everybody is asked: the same decoding for all, `samples` answers to each question.

    One sample is greedy unless a temperature is given; sample s is drawn with the decoding's seed + s. An item's mark
    is the mean over its samples, so n samples of one question count as one item.
    """

    decoding: Decoding = GREEDY
    samples: int = 1

    def __post_init__(self) -> None:
        if self.samples > 1 and not self.decoding.temperature:
            raise Fixable("greedy answers are all the same: more samples add nothing", "give a --temperature too")

    def __str__(self) -> str:
        """`greedy`, or what differs from it: it stands in the report, and under it an answer is kept."""
        how = asdict(self.decoding)
        changed = [f"{name} {how[name]}" for name, usual in asdict(GREEDY).items() if how[name] != usual]
        return ", ".join([*changed, *([f"{self.samples} samples"] if self.samples > 1 else [])]) or "greedy"

    def each(self) -> tuple[Decoding, ...]:
        """The decoding of each sample."""
        return tuple(replace(self.decoding, seed=self.decoding.seed + sample) for sample in range(self.samples))

    def key(self, assistant: str, question: Question, decoding: Decoding) -> str:
        """What an answer is kept under: who was asked, in which words, and how. Not why: other exams share it."""
        return fingerprint(assistant, str(Asking(decoding)), question.text)


@dataclass(frozen=True, slots=True)
class Sat:
    """What an assistant handed in: by question id its first answer and all its samples; by text id the nats."""

    answers: Mapping[str, Answer]
    nats: Mapping[str, float]
    samples: Mapping[str, tuple[Answer, ...]] = field(default_factory=dict)


def sit(
    candidate: Candidate,
    questions: Sequence[Question],
    texts: Sequence[Text],
    file: Path,
    batch: int = 16,
    *,
    asking: Asking | None = None,
    earlier: Iterable[Path] = (),
    alike: Mapping[str, Path] | None = None,
) -> Sat:
    """Ask what is neither in `file` nor in the `earlier` ones, adding each batch to `file`, and return everything.

    Rows are kept under the item's id and a key over the assistant, the decoding and the item's words, so an assistant
    taught again, or a reworded question, is asked again, and nothing else is. What an earlier exam's file holds is
    copied, so that the folder of an exam stays whole; and so is what was measured of the texts for those who are
    `alike` in their weights, key → file.
    """
    asking = asking or Asking()
    wanted = [(q, decoding, asking.key(candidate.key, q, decoding)) for decoding in asking.each() for q in questions]
    measured = [(text, nats_key(candidate.key, text)) for text in texts]
    keys = {*((q.id, key) for q, _, key in wanted), *((text.id, key) for text, key in measured)}
    found = {at: row for at, row in _rows(file).items() if at in keys}
    elsewhere = {at: row for path in earlier for at, row in _rows(path).items() if at in keys and at not in found}
    for key, path in (alike or {}).items():
        there = _rows(path)
        for text, own in measured:
            row = there.get((text.id, nats_key(key, text)))
            if row and (text.id, own) not in found | elsewhere:
                elsewhere[text.id, own] = {**row, "key": own}
    append_jsonl(file, elsewhere.values())
    found |= elsewhere
    if len(found) == len(keys):
        say(f"{candidate.name} sat this before: {len(found):,} answers kept")
        return kept(found.values(), candidate.key, questions, texts, asking)
    assistant = candidate.open()

    def keep(rows: list[Row]) -> None:
        append_jsonl(file, rows)
        found.update({(row["id"], row["key"]): row for row in rows})

    answered = sum((q.id, key) in found for q, _, key in wanted)
    if answered < len(wanted):
        with Bar(f"{candidate.name} sits the exam", len(wanted), "answers", done=answered) as bar:
            for decoding in asking.each():
                unasked = [(q, key) for q, how, key in wanted if how == decoding and (q.id, key) not in found]
                for part in _batches(unasked, batch):
                    said = zip(part, assistant.answer([ask(q.text) for q, _ in part], decoding), strict=True)
                    keep([{"id": q.id, "key": key, "answer": asdict(answer)} for (q, key), answer in said])
                    bar.advance(len(part))
    if unread := [(text, key) for text, key in measured if (text.id, key) not in found]:
        total = sum(len(text.text) for text, _ in unread)
        with Bar(f"{candidate.name} reads general text", total, "characters") as bar:
            for read in _by_length(unread, batch):
                nats = zip(read, assistant.nats([text.text for text, _ in read]), strict=True)
                keep([{"id": text.id, "key": key, "nats": value} for (text, key), value in nats])
                bar.advance(sum(len(text.text) for text, _ in read))
    del assistant
    _free_memory()
    return kept(found.values(), candidate.key, questions, texts, asking)


def kept(rows: Iterable[Row], key: str, questions: Sequence[Question], texts: Sequence[Text], asking: Asking) -> Sat:
    """What the assistant of a key has handed in, from the rows of its file. Raises Fixable where something is missing.

    Nobody is asked anything, so an exam can be marked again from what was kept.
    """
    found = {(row["id"], row["key"]): row for row in rows}
    try:
        samples = {
            q.id: tuple(Answer.of(found[q.id, asking.key(key, q, how)]["answer"]) for how in asking.each())
            for q in questions
        }
        nats = {text.id: float(found[text.id, nats_key(key, text)]["nats"]) for text in texts}
    except KeyError as missing:
        raise Fixable(f"an answer is missing: {missing}", "sit the exam again: only what is missing is asked") from None
    return Sat({id: answers[0] for id, answers in samples.items()}, nats, samples)


def nats_key(assistant: str, text: Text) -> str:
    """What a text's nats are kept under."""
    return fingerprint(assistant, text.text)


def _rows(file: Path) -> dict[tuple[str, str], Row]:
    return {(row["id"], row["key"]): row for row in read_jsonl(file)}


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _by_length(texts: Sequence[tuple[Text, str]], most: int) -> Iterator[list[tuple[Text, str]]]:
    """At most so many a time, and long ones alone: they take a minute, and each is kept when measured."""
    part: list[tuple[Text, str]] = []
    for each in texts:
        if part and (len(part) == most or sum(len(text.text) for text, _ in [*part, each]) > _LONG):
            yield part
            part = []
        part.append(each)
    if part:
        yield part


def _free_memory() -> None:
    """Give a finished assistant's memory back before the next one is opened.

    glibc keeps what was freed in pieces, here up to 2 GB an assistant, until it is told to let go of it.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim:
        trim(0)
