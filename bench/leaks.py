"""The leak check on planted leaks: how many are caught, and how many honest lessons of the handbook are taken for one.

52 exam questions of the handbook (26 in each language; bench/leaks.jsonl) are planted, one at a time, among its own
lessons: word for word, in other width or traditional characters, inside a longer message, paraphrased with nearly the
same words (written by the authors), and translated into the other language. The handbook's own lessons are honest:
other wordings of the facts that the exam asks, in both languages. They are looked at twice, as they are (facts named)
and with the names of their facts taken away, as data from elsewhere would be.

python bench/leaks.py
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
from documents import machine

from shuyuan import __version__
from shuyuan.base.files import write_json, write_whole
from shuyuan.base.records import Example, Message, Question
from shuyuan.examine.statistics import intervals
from shuyuan.load.embedder import open_embedder
from shuyuan.prepare import meaning
from shuyuan.prepare.leak import Hit, leaks
from shuyuan.prepare.questions import exam_questions, examples, read_questions
from shuyuan.prepare.split import Split
from shuyuan.recall.embedding import embed_passages

HERE = Path(__file__).parent
EMBEDDER = "multilingual-e5-small"


def main() -> None:
    """Plant, look, count, write bench/results/leaks.{json,md}."""
    rows, _ = read_questions(HERE.parent / "examples" / "handbook" / "questions.jsonl")
    learned, asked = Split().split(rows)
    lessons, questions = examples(learned), exam_questions(asked)
    planted = [json.loads(line) for line in (HERE / "leaks.jsonl").read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(lessons, questions, Path(folder))
        hits = {name: [bench.hits(row, way) for row in planted] for name, way in WAYS.items()}
        honest = {"facts named": bench.alarms(lessons)}
        honest["facts not named"] = bench.alarms([replace(lesson, fact="") for lesson in lessons])
        curve = {name: bench.curve(hits[name], at) for name, at in CURVES.items()}
    spoken = [bench.asked[row["question"]].language for row in planted]
    for name, language in (("translation en→zh", "en"), ("translation zh→en", "zh")):
        own = zip(hits["translation"], spoken, strict=True)
        hits[name] = [of for of, tongue in own if tongue == language]
    found = {name: counted(of) for name, of in hits.items()}
    record = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "command": "python bench/leaks.py",
        "shuyuan": __version__,
        "embedder": EMBEDDER,
        "seed": 0,
        "thresholds": {
            name: getattr(meaning, name) for name in ("SAME", "SAME_FACT", "ACROSS", "SUSPECT", "SUSPECT_ACROSS")
        },
        "lessons": len(lessons),
        "questions": len(questions),
        "caught": found,
        "false_alarms": honest,
        "curve": curve,
    }
    write_json(HERE / "results" / "leaks.json", record)
    write_whole(HERE / "results" / "leaks.md", page(record))


def _traditional(row: dict[str, str]) -> str:
    import opencc

    return str(opencc.OpenCC("s2t").convert(row["question"]))


def _wide(row: dict[str, str]) -> str:
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in row["question"])


WAYS: dict[str, Callable[[dict[str, str]], str]] = {
    "copy": lambda row: row["question"],
    "copy, other case": lambda row: row["question"].upper(),
    "copy, full width": _wide,
    "copy, traditional characters": _traditional,
    "copy inside a message": lambda row: f"Hello! 你好！ {row['question']} Thank you. 谢谢。",
    "paraphrase": lambda row: row["paraphrase"],
    "translation": lambda row: row["translation"],
}


CURVES = {
    "paraphrase": (0.95, 0.96, 0.965, 0.97, 0.973, 0.976, 0.98, 0.985),
    "translation": (0.15, 0.2, 0.25, 0.3, 0.36, 0.42, 0.48),
}


class Bench:
    """The handbook's lessons and exam with their vectors."""

    def __init__(self, lessons: Sequence[Example], questions: Sequence[Question], cache: Path) -> None:
        self.lessons, self.questions, self.cache = lessons, questions, cache
        self.asked = {question.text: question for question in questions}
        self._embedder = open_embedder(EMBEDDER)
        self._said = meaning.said(lessons, 10**9)[0]
        self._learned = self.vectors([one.text for one in self._said])
        self._asked = self.vectors([question.text for question in questions])

    def vectors(self, texts: Sequence[str]) -> meaning.Vectors:
        """One row a text."""
        return embed_passages(self._embedder, texts, self.cache)

    def hits(self, row: dict[str, str], way: Callable[[dict[str, str]], str]) -> list[Hit]:
        """What the whole check says of one planted lesson among all others, about the question it was planted for."""
        lesson = Example("planted", (Message("user", way(row)), Message("assistant", "…")), place="planted:1")
        found = leaks([lesson], self.questions)
        if not found:
            said = meaning.said([lesson], 10**9)[0]
            learned = np.concatenate([self._learned, self.vectors([one.text for one in said])])
            with floors():
                found = meaning.alike([*self._said, *said], learned, self.questions, self._asked)
        return [hit for hit in found if hit.example is lesson and hit.question.text == row["question"]]

    def alarms(self, lessons: Sequence[Example]) -> dict[str, object]:
        """How many honest lessons are refused, and shown, by words and by meaning."""
        by_words = {hit.example.id for hit in leaks(lessons, self.questions)}
        said = meaning.said(lessons, 10**9)[0]
        hits = meaning.alike(said, self.vectors([one.text for one in said]), self.questions, self._asked)
        refused = {hit.example.id for hit in hits if hit.sure} | by_words
        shown = {hit.example.id for hit in hits} | by_words
        return {
            "n": len(lessons),
            "by_words": len(by_words),
            "refused": share([lesson.id in refused for lesson in lessons]),
            "refused_or_shown": share([lesson.id in shown for lesson in lessons]),
        }

    def curve(self, planted: Sequence[Sequence[Hit]], at: Sequence[float]) -> list[dict[str, float]]:
        """Detection against false alarms over thresholds, where lessons and questions name different facts."""
        across = min(at) < 0.9
        with floors():
            every = meaning.alike(self._said, self._learned, self.questions, self._asked)
        honest: dict[str, float] = {}
        for hit in every:
            if hit.example.fact != hit.question.fact and ("language" in hit.why) == across:
                honest[hit.example.id] = max(hit.score, honest.get(hit.example.id, 0.0))
        best = [max((hit.score for hit in of), default=0.0) for of in planted]
        return [
            {
                "threshold": one,
                "caught": sum(score >= one for score in best) / len(best),
                "false_alarms": sum(score >= one for score in honest.values()) / len(self.lessons),
            }
            for one in at
        ]


@contextmanager
def floors() -> Iterator[None]:
    """Report everything above the lowest points of the curves; `sure` keeps its thresholds."""
    kept = meaning.SUSPECT, meaning.SUSPECT_ACROSS
    meaning.SUSPECT, meaning.SUSPECT_ACROSS = (min(at) for at in CURVES.values())
    try:
        yield
    finally:
        meaning.SUSPECT, meaning.SUSPECT_ACROSS = kept


def counted(hits: Sequence[Sequence[Hit]]) -> dict[str, object]:
    """How many planted lessons are refused, and how many refused or shown."""
    shown = [[hit for hit in of if hit.sure or hit.score >= _suspect(hit)] for of in hits]
    return {
        "n": len(hits),
        "refused": share([any(hit.sure for hit in of) for of in shown]),
        "refused_or_shown": share([bool(of) for of in shown]),
    }


def _suspect(hit: Hit) -> float:
    return meaning.SUSPECT_ACROSS if "language" in hit.why else meaning.SUSPECT


def share(found: Sequence[bool]) -> dict[str, float | None]:
    """A share with its Wilson interval."""
    (one,) = intervals(np.array([found], dtype=float), [str(number) for number in range(len(found))])
    return {"value": one.value, "low": one.low, "high": one.high}


def page(record: dict[str, object]) -> str:
    """The record for a reader."""
    found, honest, curve = record["caught"], record["false_alarms"], record["curve"]

    def cell(of: dict[str, float]) -> str:
        return f"{of['value']:.0%} ({of['low']:.0%}–{of['high']:.0%})"

    def row(name: str, of: dict[str, dict[str, float]]) -> str:
        return f"| {name} | {of['n']} | {cell(of['refused'])} | {cell(of['refused_or_shown'])} |"

    lines = ["# The leak check on planted leaks", "", (__doc__ or "").partition("\n\n")[2].rpartition("\n\n")[0], ""]
    lines += ["| planted | n | refused | refused or shown |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {of['n']} | {cell(of['refused'])} | {cell(of['refused_or_shown'])} |" for name, of in found.items()
    ]  # type: ignore[attr-defined]
    lines += ["", "| honest lessons | n | refused | refused or shown |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name} | {of['n']} | {cell(of['refused'])} | {cell(of['refused_or_shown'])} |"
        for name, of in honest.items()
    ]  # type: ignore[attr-defined]
    for name, points in curve.items():  # type: ignore[attr-defined]
        lines += ["", f"| {name}: threshold | caught | false alarms |", "|---:|---:|---:|"]
        lines += [f"| {p['threshold']} | {p['caught']:.1%} | {p['false_alarms']:.2%} |" for p in points]
    lines += [
        "",
        f"In brackets: 95 % intervals. {record['date']}, {record['machine']}, Shuyuan {record['shuyuan']}, {EMBEDDER}.",
    ]
    lines += [
        f"Thresholds: {record['thresholds']}. False alarms of the curves: lessons of other facts than the question's."
    ]
    lines += ["", f"Command: `{record['command']}`", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
