"""An exam that was sat, as its folder holds it; JSON is the record.

`paper.json` what was asked · `sitting.json` who sat it, and how · `answers/*.jsonl` what was said · `scores.json` what
came of it. The first three are all that marking needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json, read_jsonl, write_json
from shuyuan.base.records import Answer, Decoding, Question, Score
from shuyuan.examine.sitting import Asking, Cost, kept
from shuyuan.examine.statistics import Comparison, Verdict

MAIN = "knowledge/accuracy"
BITS = "forgetting/bits-per-byte"
BASE = "bare"  # the untaught model, against which forgetting is told


@dataclass(frozen=True, slots=True)
class Sheet:
    """One assistant's results.

    `scores`: by `paper/metric`, only what could be measured. `marks`: by the same name, question id → the item's value.
    `by_language`: the main score in each language. `changes`: against the untaught model, by the same names, for the
    forgetting paper. `answers` are the first of each question's `samples`. `made`: how it was taught, first step first.
    """

    name: str
    scores: Mapping[str, Score]
    marks: Mapping[str, Mapping[str, float]]
    by_language: Mapping[str, Score]
    changes: Mapping[str, Score]
    cost: Cost
    answers: Mapping[str, Answer] = field(default_factory=dict)
    samples: Mapping[str, tuple[Answer, ...]] = field(default_factory=dict)
    made: tuple[Mapping[str, Any], ...] = ()

    def value(self, score: str) -> float | None:
        """A score's value, or None where it was not measured."""
        return self.scores[score].value if score in self.scores else None


@dataclass(frozen=True, slots=True)
class Exam:
    """Who sat what, and what came of it. `sheets` are ranked by the main score, best first.

    `questions` are about the material and `general` ones are not; `others` are those that further papers asked.
    """

    name: str
    folder: Path
    version: str
    paper: str
    made: str
    seed: int
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    facts_about: Mapping[str, Any]
    questions: tuple[Question, ...]
    general: tuple[Question, ...]
    others: tuple[Question, ...]
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
        del row["name"], row["answers"], row["samples"]
        rows[sheet.name] = row
    write_json(folder / "scores.json", {**about, "verdict": asdict(verdict), "assistants": rows})


def write_sitting(folder: Path, about: Mapping[str, Any], asking: Asking, assistants: Mapping[str, Any]) -> None:
    """Write `sitting.json`: what `read_sitting` needs to find each assistant's answers again."""
    write_json(folder / "sitting.json", {**about, "asking": asdict(asking), "assistants": assistants})


def read_sitting(folder: Path) -> tuple[dict[str, Any], Asking]:
    """What `sitting.json` says, and how everybody was asked. Raises Fixable where nobody sat an exam."""
    if not (folder / "sitting.json").exists():
        raise Fixable(f"nobody has sat an exam in {folder}", "sit one: shuyuan exam")
    sitting = read_json(folder / "sitting.json")
    asking = sitting["asking"]
    decoding = Decoding(**{**asking["decoding"], "stop": tuple(asking["decoding"]["stop"])})
    return sitting, Asking(decoding, asking["samples"])


def read_exam(folder: Path) -> Exam:
    """Read an exam back from its folder. Raises Fixable where it was not sat, or not to its end."""
    if not (folder / "scores.json").exists():
        raise Fixable(f"there is no finished exam in {folder}", "sit one: shuyuan exam")
    paper, scores = read_json(folder / "paper.json"), read_json(folder / "scores.json")
    sitting, asking = read_sitting(folder)
    pools = read_pools(paper)
    asked = {question.id: question for pool in sitting["spoken"] for question in pools[pool]}
    questions, general = tuple(pools.pop("material")), tuple(pools.pop("general"))
    common = {question.id for question in (*questions, *general)}
    sheets = []
    for name, row in scores["assistants"].items():
        key = sitting["assistants"][name]["key"]
        rows = read_jsonl(folder / "answers" / f"{name}.jsonl")
        sheets.append(_sheet(name, row, kept(rows, key, list(asked.values()), (), asking).samples))
    sheets.sort(key=lambda sheet: (-(sheet.value(MAIN) or 0.0), sheet.name))
    found = scores["verdict"]
    return Exam(
        name=scores["name"],
        folder=folder,
        version=scores["version"],
        paper=scores["paper"],
        made=paper["made"],
        seed=scores["seed"],
        settings=scores["settings"],
        machine=scores["machine"],
        facts_about=scores["counts"],
        questions=questions,
        general=general,
        others=tuple(question for id, question in asked.items() if id not in common),
        sheets=tuple(sheets),
        verdict=Verdict(
            found["winner"],
            found["best"],
            tuple(found["leaders"]),
            tuple(Comparison(**row) for row in found["comparisons"]),
        ),
    )


def read_pools(paper: Mapping[str, Any]) -> dict[str, list[Question]]:
    """The questions of a paper file by pool."""
    rows = {"material": paper["questions"], "general": paper["general"], **paper.get("pools", {})}
    return {pool: [read_question(row) for row in of] for pool, of in rows.items()}


def read_question(row: Mapping[str, Any]) -> Question:
    """A `Question` from its JSON form."""
    return Question(**{**row, "answers": tuple(row["answers"]), "choices": tuple(row.get("choices", ()))})


def read_cost(row: Mapping[str, Any]) -> Cost:
    """A `Cost` from its JSON form."""
    return Cost(**{**row, "routes": tuple(row["routes"])})


def _sheet(name: str, row: Mapping[str, Any], samples: Mapping[str, tuple[Answer, ...]]) -> Sheet:
    return Sheet(
        name,
        _scores(row["scores"]),
        row["marks"],
        _scores(row["by_language"]),
        _scores(row["changes"]),
        read_cost(row["cost"]),
        {id: answers[0] for id, answers in samples.items()},
        samples,
        tuple(row["made"]),
    )


def _scores(rows: Mapping[str, Any]) -> dict[str, Score]:
    return {name: Score(**score) for name, score in rows.items()}
