"""Question files into a workspace: divided beside what is there already, checked for leaks, then stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.material import Material
from shuyuan.base.progress import say
from shuyuan.base.records import Example, Kept, Question
from shuyuan.prepare.leak import check_leaks
from shuyuan.prepare.questions import Row, exam_questions, examples, read_questions, wording
from shuyuan.prepare.sources import Roots
from shuyuan.prepare.split import Split


@dataclass(frozen=True, slots=True)
class Sheets:
    """The question files of one `add`: what to store for each name, and the rows that came, were kept and dropped."""

    names: tuple[str, ...]
    examples: tuple[Example, ...]
    questions: tuple[Question, ...]
    rows: Kept


def read_sheets(material: Material, roots: Roots, paths: Iterable[Path], split: Split) -> Sheets:
    """Read question files, divide their rows into learning and exam, and refuse leaks; nothing is stored yet.

    Rows of files that were added before stay where they are, and pull their near duplicates to their side. A row that
    another file has already is dropped. Data files may be large: they are compared with the exam before a teaching.
    """
    rows: list[Row] = []
    names: list[str] = []
    came, dropped = 0, Counter[str]()
    for path in paths:
        name = roots.question_name(path)
        found, kept = read_questions(path, name)
        names.append(name)
        rows += found
        came += kept.came
        dropped.update(kept.dropped)
    beside = [origin for origin in material.origins() if origin not in (*names, *roots.data)]
    old_examples = [example for origin in beside for example in material.examples(origin)]
    old_questions = [question for question in material.questions() if _name_of(question.place) not in names]
    there = [_old_row(e.messages[0].content, "learn", e.fact, e.place) for e in old_examples]
    there += [replace(_old_row(q.text, "exam", q.fact, q.place), choices=q.choices) for q in old_questions]
    learned, examined = split.split([*there, *rows])
    learned, examined = _first_only(learned), _first_only(examined)
    new_examples = examples(row for row in learned if _name_of(row.place) in names)
    new_questions = exam_questions(row for row in examined if _name_of(row.place) in names)
    if repeated := len(rows) - len(new_examples) - len(new_questions):
        dropped["in another file"] += repeated
    _check_held_out(material, learned)
    if rows:
        check_leaks([*old_examples, *new_examples], [*old_questions, *new_questions])
    kept_rows = Kept(came, len(new_examples) + len(new_questions), dict(dropped), "questions")
    return Sheets(tuple(names), tuple(new_examples), tuple(new_questions), kept_rows)


def put_sheets(material: Material, sheets: Sheets) -> None:
    """Store each file's examples and questions, one step a file, and say where their evidence is missing."""
    for name in sheets.names:
        material.put_questions(
            name,
            [example for example in sheets.examples if _name_of(example.place) == name],
            [question for question in sheets.questions if _name_of(question.place) == name],
        )
    _check_evidence(material, sheets.questions)


def _check_held_out(material: Material, learned: Iterable[Row]) -> None:
    """Nobody may learn from a document that was held out for the exam."""
    held = set(material.held_out())
    for row in learned:
        if row.source in held:
            raise Fixable(
                f"this row teaches from {row.source}, which is held out for the exam",
                "write 'exam' into its column 'use', or leave it out",
                row.place,
            )


def _check_evidence(material: Material, questions: Sequence[Question]) -> None:
    """Retrieval is measured on questions whose evidence stands in a document; the others are named, not dropped."""
    texts = {document.source: "".join(document.text.split()) for document in material.documents()} if questions else {}
    lost = [q for q in questions if q.source and q.source not in texts]
    if lost:
        hint = near_miss(lost[0].source, texts)[:200]
        say(f"{len(lost)} questions name a document that is not here; first {lost[0].place}: {lost[0].source} ({hint})")
    wrong = [q for q in questions if q.source in texts and "".join(q.evidence.split()) not in texts[q.source]]
    if wrong:
        say(f"{len(wrong)} questions name evidence that is not in their document; first {wrong[0].place}")


def _first_only(rows: Iterable[Row]) -> list[Row]:
    """Rows without repeats of one wording."""
    return list({wording(row): row for row in reversed(list(rows))}.values())[::-1]


def _old_row(question: str, use: str, fact: str, place: str) -> Row:
    return Row(question, (), fact, use, "", "", "", place)


def _name_of(place: str) -> str:
    return place.rpartition(":")[0]
