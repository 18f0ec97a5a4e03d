"""An exam that was sat, as its folder holds it: `paper.json`, `answers/*.jsonl`, `scores.json`; JSON is the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json, read_jsonl, write_json
from shuyuan.base.records import Answer, Question, Score
from shuyuan.examine.sitting import Cost, read_answer
from shuyuan.examine.statistics import Comparison, Verdict

MAIN = "knowledge/accuracy"
BITS = "forgetting/bits-per-byte"
BASE = "bare"  # the untaught model, against which forgetting is told


@dataclass(frozen=True, slots=True)
class Sheet:
    """One assistant's results.

    `scores`: by `paper/metric`, only what could be measured. `marks`: by the same name, question id → the item's value.
    `by_language`: the main score in each language. `changes`: against the untaught model, by the same names, for the
    forgetting paper.
    """

    name: str
    scores: Mapping[str, Score]
    marks: Mapping[str, Mapping[str, float]]
    by_language: Mapping[str, Score]
    changes: Mapping[str, Score]
    cost: Cost
    answers: Mapping[str, Answer] = field(default_factory=dict)

    def value(self, score: str) -> float | None:
        """A score's value, or None where it was not measured."""
        return self.scores[score].value if score in self.scores else None


@dataclass(frozen=True, slots=True)
class Exam:
    """Who sat what, and what came of it. `sheets` are ranked by the main score, best first."""

    name: str
    folder: Path
    version: str
    made: str
    seed: int
    settings: Mapping[str, Any]
    facts_about: Mapping[str, Any]
    questions: tuple[Question, ...]
    general: tuple[Question, ...]
    sheets: tuple[Sheet, ...]
    verdict: Verdict

    @property
    def answerable(self) -> tuple[Question, ...]:
        """The questions of the knowledge paper."""
        return tuple(question for question in self.questions if question.answers)

    def __str__(self) -> str:
        """The table that the command prints."""
        from shuyuan.examine.tables import table

        return table(self)


def write_scores(folder: Path, about: Mapping[str, Any], sheets: Sequence[Sheet], verdict: Verdict) -> None:
    """Write `scores.json`; assistants are in alphabetical order, so that who sat first leaves no trace."""
    rows = {}
    for sheet in sorted(sheets, key=lambda sheet: sheet.name):
        row = asdict(sheet)
        del row["name"], row["answers"]
        rows[sheet.name] = row
    write_json(folder / "scores.json", {**about, "verdict": asdict(verdict), "assistants": rows})


def read_exam(folder: Path) -> Exam:
    """Read an exam back from its folder. Raises Fixable where it was not sat, or not to its end."""
    if not (folder / "scores.json").exists():
        raise Fixable(f"there is no finished exam in {folder}", "sit one: shuyuan exam")
    paper, scores = read_json(folder / "paper.json"), read_json(folder / "scores.json")
    sheets = [_sheet(folder, name, row) for name, row in scores["assistants"].items()]
    sheets.sort(key=lambda sheet: (-(sheet.value(MAIN) or 0.0), sheet.name))
    found = scores["verdict"]
    return Exam(
        name=scores["name"],
        folder=folder,
        version=scores["version"],
        made=paper["made"],
        seed=scores["seed"],
        settings=scores["settings"],
        facts_about=scores["counts"],
        questions=tuple(map(_question, paper["questions"])),
        general=tuple(map(_question, paper["general"])),
        sheets=tuple(sheets),
        verdict=Verdict(
            found["winner"],
            found["best"],
            tuple(found["leaders"]),
            tuple(Comparison(**row) for row in found["comparisons"]),
        ),
    )


def _sheet(folder: Path, name: str, row: Mapping[str, Any]) -> Sheet:
    rows = read_jsonl(folder / "answers" / f"{name}.jsonl")
    return Sheet(
        name,
        _scores(row["scores"]),
        row["marks"],
        _scores(row["by_language"]),
        _scores(row["changes"]),
        Cost(**{**row["cost"], "routes": tuple(row["cost"]["routes"])}),
        {answer["id"]: read_answer(answer["answer"]) for answer in rows if "answer" in answer},
    )


def _scores(rows: Mapping[str, Any]) -> dict[str, Score]:
    return {name: Score(**score) for name, score in rows.items()}


def _question(row: Mapping[str, Any]) -> Question:
    return Question(**{**row, "answers": tuple(row["answers"]), "choices": tuple(row.get("choices", ()))})
