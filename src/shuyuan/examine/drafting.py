"""A draft of an exam, made from the workspace's documents into a file that a person reads, edits and adds."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from shuyuan.base.errors import Fixable
from shuyuan.base.files import fingerprint, write_whole
from shuyuan.base.progress import say
from shuyuan.base.records import Answer, Assistant, Document, Kept, Passage, Question
from shuyuan.base.workspace import Workspace
from shuyuan.examine.teacher import Teacher, is_address
from shuyuan.measure.accuracy import Accuracy
from shuyuan.prepare.asking import judged, written
from shuyuan.prepare.chunk import Chunk
from shuyuan.prepare.gates import Finds, gated
from shuyuan.prepare.leak import near_duplicates
from shuyuan.prepare.making import Item
from shuyuan.prepare.normal import units
from shuyuan.prepare.questions import Row, as_lines, exam_questions, examples
from shuyuan.prepare.quiz import Quiz, rows
from shuyuan.prepare.split import Split
from shuyuan.read.reading import read_file, walk
from shuyuan.recall.leaks import find_leaks
from shuyuan.store.memory import MemoryIndex
from shuyuan.teach.teaching import open_assistant

_LOOKED_AT = 20_000  # characters of a document, to tell copies of one document


@dataclass(frozen=True, slots=True)
class Draft:
    """A question file that was made: where, what is in it by kind, what fell at which gate, and its fingerprint."""

    file: Path
    rows: tuple[Row, ...]
    kept: tuple[Kept, ...]
    held_out: tuple[str, ...]
    paper: str


def draft(
    workspace: Workspace,
    out: Path,
    quiz: Quiz | None = None,
    *,
    share: float = 1.0,
    hold_out: float = 0.0,
    absent: Sequence[Path] = (),
    model: str = "",
    judge: str = "",
) -> Draft:
    """Make exam questions from the documents and write them to `out` (JSONL), for a person to edit and add.

    `share` of the clusters of facts go to the exam, the others become rows to learn from. `hold_out`: that share of the
    documents (copies together) may not be learned from any more, only looked up. `absent`: documents that are not in
    the workspace; their questions come without an answer. `model` writes further questions, `judge` keeps those that it
    answers with the passage and not without: each an assistant of the workspace or `https://…/v1#name`. Raises Fixable
    where nothing can be made, or `out` is there already.
    """
    quiz = quiz or Quiz()
    if out.exists():
        raise Fixable("this file is there already, and may have been edited", "give --out another name", out)
    documents, hidden = workspace.material.documents(hidden=False), set(workspace.material.hidden())
    passages = tuple(one for one in workspace.material.passages() if one.source not in hidden)
    if not passages:
        raise Fixable("there are no documents to make questions from", "add some first: shuyuan add FOLDER")
    if hold_out:
        workspace.material.hold_out(_held_out(documents, hold_out, quiz.seed))
    known = [question.text for question in workspace.material.questions()]
    with _by_words(passages) as finds:
        made = quiz.make(documents, passages, finds, known)
        items, kept = list(made.items), [made.kept]
        if model:
            wanted = _spread(passages, quiz.count, quiz.seed)
            by_model, how = written(_opened(workspace, model), wanted, documents)
            good, gates = gated(by_model, passages, finds, [*known, *(item.text for item in items)])
            items, kept = [*items, *good], [*kept, how, gates]
    if judge:
        answerable = [item for item in items if item.answers and not item.choices]
        good, how = judged(_opened(workspace, judge), answerable, passages, _right)
        items, kept = [item for item in items if item not in answerable or item in good], [*kept, how]
    if absent:
        none, how = _without_answer(absent, passages, quiz)
        items, kept = [*items, *none], [*kept, how]
    if not any(item.answers for item in items):
        raise Fixable(
            "no question could be made from these documents", "add documents with facts in them, or questions"
        )
    written_rows, apart = _divided(workspace, rows(items, ""), share, quiz.seed)
    kept += [apart] if share < 1 else []
    text = "".join(as_lines(written_rows))
    write_whole(out, text)
    found = Draft(out, tuple(written_rows), tuple(kept), workspace.material.held_out(), fingerprint(text))
    _tell(found)
    return found


def _opened(workspace: Workspace, name: str) -> Assistant:
    return Teacher(name) if is_address(name) else open_assistant(workspace, name)


def _right(reply: str, item: Item) -> bool:
    question = Question("", item.text, item.answers, item.language, item.fact)
    return Accuracy().measure(Answer(reply), question) == 1.0


@contextmanager
def _by_words(passages: Sequence[Passage]) -> Iterator[Finds]:
    """A search of the passages by words alone."""
    with tempfile.TemporaryDirectory() as folder:
        index = MemoryIndex(Path(folder) / "words.npz", 1)
        index.upsert(passages, np.ones((len(passages), 1), np.float32))
        yield lambda words, k: [name for name, _ in index.words(words, k)]


def _held_out(documents: Sequence[Document], share: float, seed: int) -> list[str]:
    """Some documents by a seeded hash; copies of one another stay together."""
    parent = list(range(len(documents)))
    for one, other, _ in near_duplicates([document.text[:_LOOKED_AT] for document in documents]):
        parent[other] = parent[one]
    chosen = []
    for document, root in zip(documents, parent, strict=True):
        key = hashlib.sha256(f"{seed}\n{documents[root].source}".encode()).digest()
        if int.from_bytes(key[:8]) < share * 2**64:
            chosen.append(document.source)
    if len(chosen) in (0, len(documents)):
        raise Fixable(
            f"{len(chosen)} of {len(documents)} documents would be held out", "choose another --hold-out or --seed"
        )
    return chosen


def _spread(passages: Sequence[Passage], count: int, seed: int) -> list[Passage]:
    return sorted(passages, key=lambda p: hashlib.sha256(f"{seed}\n{p.id}".encode()).digest())[:count]


def _without_answer(paths: Sequence[Path], passages: Sequence[Passage], quiz: Quiz) -> tuple[list[Item], Kept]:
    """Questions that documents outside the workspace answer, and none inside does, as far as words can tell."""
    outside = [
        read_file(file, file.name) for path in paths for file in ([path] if path.is_file() else walk(path).files)
    ]
    cut = [passage for document in outside for passage in Chunk().chunk(document)]
    texts = [f" {' '.join(units(passage.text))} " for passage in passages]
    with _by_words(cut) as finds:
        made = replace_count(quiz, max(1, round(quiz.unanswerable * quiz.count))).make(outside, cut, finds)
    found, answered = [], 0
    for item in made.items:
        words = f" {' '.join(units(item.answers[0]))} " if item.answers else ""
        stem = set(units(item.stem))
        if item.choices or not item.answers:
            continue
        if any(words in text and sum(f" {w} " in text for w in stem) >= 0.5 * len(stem) for text in texts):
            answered += 1
            continue
        found.append(
            replace(item, kind="unanswerable", answers=(), evidence="", document=replace(item.document, source=""))
        )
    dropped = {"perhaps answered here": answered} if answered else {}
    return found, Kept(len(found) + answered, len(found), dropped, "questions on absent documents")


def replace_count(quiz: Quiz, count: int) -> Quiz:
    """The same quiz with another number of questions and neither choices nor swapped names."""
    return quiz.but(count=count, choices=0.0, unanswerable=0.0)


def _divided(workspace: Workspace, made: Sequence[Row], share: float, seed: int) -> tuple[list[Row], Kept]:
    """Rows with their use, by clusters of wording and fact; rows to learn that a teaching would refuse go."""
    placed = [replace(row, place=f"made:{number}") for number, row in enumerate(made, start=1)]
    if share >= 1:
        return [replace(row, use="exam") for row in placed], Kept(len(placed), len(placed))
    learned, asked = Split(share=share, seed=seed).split(placed)
    kept = learned = [row for row in learned if not row.choices]
    questions = exam_questions(asked)
    while alike := {hit.example.place for hit in find_leaks(workspace, examples(kept), questions).hits if hit.sure}:
        kept = [row for row in kept if row.place not in alike]
    dropped = {"too like an exam question": len(learned) - len(kept)} if len(kept) < len(learned) else {}
    return (
        [*(replace(row, use="exam") for row in asked), *(replace(row, use="learn") for row in kept)],
        Kept(len(learned), len(kept), dropped, "rows to learn from"),
    )


def _tell(found: Draft) -> None:
    for kept in found.kept:
        say(str(kept))
    say(f"paper {found.paper}: {len(found.rows)} rows in {found.file}; read it, edit it, then add it")
