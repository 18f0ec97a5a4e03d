"""One assistant sits the papers: in batches, resumable after any kill, and never asked twice."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from shuyuan.base.files import append_jsonl, fingerprint, read_jsonl
from shuyuan.base.progress import Bar, say
from shuyuan.base.records import Answer, Assistant, Citation, Question, TokenLogprob, ask
from shuyuan.examine.papers import Text

DECODING = "greedy"  # what `Assistant.answer` promises; part of the key under which an answer is kept
T = TypeVar("T")


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
    """Who is to be examined. `key` changes whenever the assistant does; `open` is called only if need be."""

    name: str
    key: str
    open: Callable[[], Assistant]
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True, slots=True)
class Sat:
    """What an assistant handed in: answers by question id, and nats by text id."""

    answers: Mapping[str, Answer]
    nats: Mapping[str, float]


def sit(candidate: Candidate, questions: Sequence[Question], texts: Sequence[Text], file: Path, batch: int = 16) -> Sat:
    """Ask what is not yet in `file`, adding each batch to it, and return everything.

    Rows are kept under the item's id and a key over the assistant, the decoding and the item's words, so an assistant
    taught again, or a reworded question, is asked again, and nothing else is.
    """
    answer_keys = {q.id: fingerprint(candidate.key, DECODING, q.text) for q in questions}
    nats_keys = {t.id: fingerprint(candidate.key, t.text) for t in texts}
    found = {(row["id"], row["key"]): row for row in read_jsonl(file)}
    unasked = [q for q in questions if (q.id, answer_keys[q.id]) not in found]
    unread = [t for t in texts if (t.id, nats_keys[t.id]) not in found]
    total = len(questions) + len(texts)
    done = total - len(unasked) - len(unread)
    if done < total:
        assistant = candidate.open()
        with Bar(f"{candidate.name} sits", total, "answers", done=done) as bar:
            for part in _batches(unasked, batch):
                answers = assistant.answer([ask(question.text) for question in part])
                rows: list[dict[str, Any]] = [
                    {"id": question.id, "key": answer_keys[question.id], "answer": asdict(answer)}
                    for question, answer in zip(part, answers, strict=True)
                ]
                _keep(rows, file, found, bar)
            for texts_part in _batches(unread, batch):
                nats = assistant.nats([text.text for text in texts_part])
                rows = [
                    {"id": text.id, "key": nats_keys[text.id], "nats": value}
                    for text, value in zip(texts_part, nats, strict=True)
                ]
                _keep(rows, file, found, bar)
        del assistant
        _free_memory()
    else:
        say(f"{candidate.name} sat this before: {total:,} answers kept")
    return Sat(
        {q.id: read_answer(found[q.id, answer_keys[q.id]]["answer"]) for q in questions},
        {t.id: float(found[t.id, nats_keys[t.id]]["nats"]) for t in texts},
    )


def read_answer(row: Mapping[str, Any]) -> Answer:
    """An `Answer` from its JSON form."""
    cited = [{**citation, "supports": _spans(citation.get("supports", ()))} for citation in row["citations"]]
    citations = tuple(Citation(**citation) for citation in cited)
    told = [TokenLogprob(**{**each, "top": tuple(map(tuple, each["top"]))}) for each in row.get("logprobs", ())]
    lists = {"citations": citations, "retrieved": tuple(row["retrieved"]), "logprobs": tuple(told)}
    return Answer(**{**row, **lists, "unsupported": _spans(row.get("unsupported", ()))})


def _spans(pairs: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((start, end) for start, end in pairs)


def _keep(rows: list[dict[str, Any]], file: Path, found: dict[tuple[str, str], Any], bar: Bar) -> None:
    append_jsonl(file, rows)
    found.update({(row["id"], row["key"]): row for row in rows})
    bar.advance(len(rows))


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _free_memory() -> None:
    """Give a finished assistant's memory back before the next one is opened."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
