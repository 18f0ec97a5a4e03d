"""The pilot: before anything is taught, a few questions and some text tell which routes are worth their cost."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from shuyuan import __version__
from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json, write_json
from shuyuan.base.progress import say
from shuyuan.base.records import Answer, Assistant, Document, Passage, Question, ask
from shuyuan.base.workspace import Workspace
from shuyuan.examine.forgetting import Forgetting
from shuyuan.examine.pairs import pairs
from shuyuan.examine.papers import pick
from shuyuan.examine.results import BASE, MAIN, Exam
from shuyuan.examine.statistics import intervals
from shuyuan.load.answering import ModelAssistant
from shuyuan.measure.accuracy import Accuracy
from shuyuan.prepare.blocks import plain
from shuyuan.recall.ground import Ground
from shuyuan.recall.leaks import refuse_leaks
from shuyuan.recall.reader import reader_of
from shuyuan.teach.teaching import open_assistant

FILE = "pilot.json"
QUESTIONS = 20
_TEXT = 4_000  # characters of each language's documents whose likelihood is measured
_COUNTED = 200_000  # characters of each language's documents that are cut into tokens
_EVIDENT = 0.05  # p below which a difference counts as shown
Worth = Literal["yes", "no", "unsure"]


@dataclass(frozen=True, slots=True)
class Share:
    """A share of right answers with its 95 % interval."""

    value: float
    n: int
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Prediction:
    """Whether a route is worth its cost, between which shares of right answers it will end, and the rule's reason."""

    route: str
    worth: Worth
    low: float
    high: float
    why: str


@dataclass(frozen=True, slots=True)
class Pilot:
    """What was measured before teaching, and what it predicts.

    `closed`: asked as they are; `opened`: with a library; `oracle`: with the evidence in the question. `tokens`:
    tokens a character, by language; `bits`: bits a byte of the documents, `usual`: of our own general prose. `taught`:
    share of the exam's facts that the lessons name.
    """

    closed: Share
    opened: Share | None
    oracle: Share
    tokens: Mapping[str, float]
    bits: Mapping[str, float]
    usual: Mapping[str, float]
    taught: float
    examples: int
    characters: int
    predictions: tuple[Prediction, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a prediction: how the route did beside the untaught model. `held` None: nothing was predicted."""

    route: str
    assistant: str
    predicted: Worth
    low: float
    high: float
    happened: float
    better: bool
    held: bool | None
    inside: bool


def pilot(workspace: Workspace, questions: int = QUESTIONS, seed: int = 0) -> Pilot:
    """Measure, predict by rule, and keep it as `pilot.json` for the report. Takes a few minutes on two cores.

    Raises Fixable without answerable questions that name their evidence, and for questions that leaked.
    """
    material = workspace.material
    able = [q for q in material.questions() if q.answers and q.evidence and not q.choices]
    if not able:
        raise Fixable(
            "the pilot needs exam questions with an answer and its evidence", "make some: shuyuan exam make, then add"
        )
    refuse_leaks(workspace, material.examples())
    asked = pick(able, questions, seed)
    bare = open_assistant(workspace, BASE)
    say(f"pilot: {len(asked)} questions, asked three times")
    closed, opened = _right(bare, asked), None
    oracle = _right(reader_of(bare), [replace(q, text=_given(q)) for q in asked])
    library = _with_library(workspace, bare)
    if library is not None:
        opened = _right(library, asked)
    known = {example.fact for example in material.examples() if example.fact}
    facts = {question.fact for question in able}
    found = Pilot(
        closed=_share(closed, asked),
        opened=_share(opened, asked) if opened else None,
        oracle=_share(oracle, asked),
        taught=len(facts & known) / len(facts),
        examples=len(material.examples()),
        **_read(bare, material.documents()),
        about={
            "made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "shuyuan": __version__,
            "model": workspace.choices.model,
            "seed": seed,
            "questions": [question.id for question in asked],
        },
    )
    found = replace(found, predictions=predictions(found))
    write_json(workspace.folder / FILE, asdict(found))
    return found


def predictions(found: Pilot) -> tuple[Prediction, ...]:
    """What the figures say of each kind of route, by rules that can be read here."""
    return (_of_retrieve(found), _of_tuning(found), _of_continue(found))


def _of_retrieve(found: Pilot) -> Prediction:
    closed, oracle, opened = found.closed, found.oracle, found.opened
    if opened is None:
        return Prediction(
            "retrieve", "unsure", closed.value, oracle.value, "no embedder is here, so no library was tried"
        )
    gain = opened.value - closed.value
    why = f"{opened.value:.0%} right with a library, {closed.value:.0%} without, {oracle.value:.0%} with the evidence"
    low, high = opened.low or opened.value, opened.high or opened.value
    worth: Worth = "yes" if low > closed.value and gain >= 0.1 else "no" if gain < 0.05 else "unsure"
    if oracle.value < 0.5:
        why += "; this model misreads even the evidence, so a stronger one would help more"
    elif oracle.value - opened.value > 0.25:
        why += "; the search loses most of what could be had"
    return Prediction("retrieve", worth, low, high, why)


def _of_tuning(found: Pilot) -> Prediction:
    closed = found.closed.value
    missing = 1 - closed
    why = f"lessons name {found.taught:.0%} of the exam's facts ({found.examples:,} examples)"
    if found.taught < 0.2:
        why = f"{why}: tuning does not teach what no lesson says"
        return Prediction("lora", "no", max(0.0, closed - 0.1), min(1.0, closed + 0.15), why)
    if missing < 0.15:
        return Prediction("lora", "no", max(0.0, closed - 0.1), 1.0, f"{closed:.0%} are right untaught; {why}")
    low, high = closed + 0.3 * found.taught * missing, closed + found.taught * missing
    return Prediction("lora", "yes" if found.taught >= 0.5 else "unsure", low, min(1.0, high + 0.1), why)


def _of_continue(found: Pilot) -> Prediction:
    closed = found.closed.value
    strange = {
        language: found.bits[language] / found.usual[language] for language in found.bits.keys() & found.usual.keys()
    }
    most = max(strange.values(), default=1.0)
    why = f"{found.characters:,} characters; their bits a byte are {most:.2f} times those of everyday prose"
    if found.characters >= 1_000_000 and most > 1.2:
        return Prediction(
            "continue", "unsure", closed, min(1.0, closed + 0.25), f"{why}: much that is new, and enough of it"
        )
    return Prediction(
        "continue", "no", max(0.0, closed - 0.1), min(1.0, closed + 0.15),
        f"{why}: reading that little once or twice teaches style, hardly facts",
    )  # fmt: skip


def read_pilot(workspace: Workspace) -> Pilot | None:
    """The pilot that was kept in a workspace, or None."""
    file = workspace.folder / FILE
    if not file.exists():
        return None
    row = read_json(file)
    shares = {name: Share(**row[name]) if row[name] else None for name in ("closed", "opened", "oracle")}
    return Pilot(**{**row, **shares, "predictions": tuple(Prediction(**one) for one in row["predictions"])})


def outcome(workspace: Workspace, exam: Exam) -> tuple[Outcome, ...]:
    """Whether the pilot's predictions held: for each, every assistant whose last route it was, beside the untaught
    model. Better means a higher share of right answers with p ≤ .05; `()` when there was no pilot or no untaught one.
    """
    kept = read_pilot(workspace)
    sheets = {sheet.name: sheet for sheet in exam.sheets if MAIN in sheet.scores}
    if kept is None or BASE not in sheets:
        return ()
    found = []
    for one in kept.predictions:
        for name, sheet in sorted(sheets.items()):
            if sheet.cost.routes != (one.route,):
                continue
            (pair,) = pairs(exam, (name, BASE))
            happened = sheet.scores[MAIN].value
            better = pair.difference > 0 and pair.p <= _EVIDENT
            held = None if one.worth == "unsure" else better == (one.worth == "yes")
            inside = one.low <= happened <= one.high
            found.append(Outcome(one.route, name, one.worth, one.low, one.high, happened, better, held, inside))
    return tuple(found)


def _right(assistant: Assistant, asked: Sequence[Question]) -> list[float]:
    answers: list[Answer] = assistant.answer([ask(question.text) for question in asked])
    return [Accuracy().measure(answer, q) or 0.0 for answer, q in zip(answers, asked, strict=True)]


def _given(question: Question) -> str:
    """As the route `retrieve` would ask it, had it found exactly the evidence."""
    text = plain(question.evidence)
    found = Passage("evidence", "evidence", question.source or "1", 0, len(text), text)
    return Ground().prompt(question.text, [found], question.language)


def _share(right: Sequence[float], asked: Sequence[Question]) -> Share:
    (found,) = intervals(np.array([right], dtype=float), [question.fact or question.id for question in asked])
    return Share(found.value, found.n, found.low, found.high)


def _with_library(workspace: Workspace, bare: Assistant) -> Assistant | None:
    """The untaught model with a library of its own, or None where the embedder is not here."""
    from pathlib import Path

    from shuyuan.load.pulling import present
    from shuyuan.teach.retrieve import Retrieve

    run = workspace.run("pilot")
    if not (present(run.embedder) or Path(run.embedder).is_dir()):
        say(f"no library is tried: the embedder {run.embedder} is not here (shuyuan pull {run.embedder})")
        return None
    run = replace(run, folder=workspace.folder / "cache" / "pilot")
    return Retrieve().teach(bare, workspace.material.lessons(), run)


def _read(bare: Assistant, documents: Sequence[Document]) -> dict[str, Any]:
    """Tokens a character and bits a byte of the documents, by language, beside our own prose."""
    tokens: dict[str, float] = {}
    bits: dict[str, float] = {}
    usual: dict[str, float] = {}
    for language in sorted({document.language for document in documents}):
        own = [document.text for document in documents if document.language == language]
        text = "".join(own)[:_COUNTED]
        if isinstance(bare, ModelAssistant):
            tokens[language] = len(bare.model.tokenizer(text, add_special_tokens=False)["input_ids"]) / max(
                1, len(text)
            )
        share = max(1, _TEXT // len(own))
        bits[language] = _bits(bare, [one[:share] for one in own[: max(1, _TEXT // share)]])
        prose = [one.text for one in Forgetting().texts() if one.language == language]
        if prose:
            usual[language] = _bits(bare, prose[:4])
    return {
        "tokens": tokens,
        "bits": bits,
        "usual": usual,
        "characters": sum(len(document.text) for document in documents),
    }


def _bits(bare: Assistant, texts: Sequence[str]) -> float:
    whole = [text for text in texts if text]
    return sum(bare.nats(whole)) / math.log(2) / max(1, sum(len(text.encode()) for text in whole))
