"""The leak check on planted leaks: how many are caught, and how many honest lessons of the handbook are taken for one.

52 exam questions of the handbook (26 in each language; bench/leaks.jsonl) are planted, one at a time, among its own
lessons: word for word, in other width or traditional characters, inside a longer message, paraphrased with nearly the
same words (written by the authors), and translated into the other language. The handbook's own lessons are honest:
other wordings of the facts that the exam asks, in both languages. They are looked at twice, as they are (facts named)
and with the names of their facts taken away, as data from elsewhere would be: then most of what is refused does ask
what the exam asks. Of other facts than the question's are those refused as translations in the last table, which looks
at translations where the check was not worked on: among a third of the lessons (12 draws, 13 translations each), and
among the titles of LibreOffice's guides (MPL-2.0; one title of each of 160 pages is the exam, both of each other page
are lessons, many of them alike: “Saving Documents in Other Formats”, “Opening documents saved in other formats”).

Translations are told by the embedder, and what it doubts by a language model; where that is not here, by the embedder
alone. Weights and thresholds were chosen on 184 rough translations among the handbook's lessons themselves (each fact's
first wordings in both languages, with 770 lessons: LOG.md), so that no honest one is refused; the embedder's threshold
also so that no honest lesson of the handbook is refused, named or not, for another fact than its own. Between settings
that were alike there, the other sets decided: none of them is blind.

python bench/leaks.py FOLDER
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from corpora import fetched, guides
from documents import machine

from shuyuan import __version__
from shuyuan.base.files import write_json, write_whole
from shuyuan.base.records import Example, Message, Question
from shuyuan.examine.statistics import intervals
from shuyuan.load.embedder import open_embedder
from shuyuan.prepare import meaning
from shuyuan.prepare.leak import Hit, leaks
from shuyuan.prepare.likeness import Read
from shuyuan.prepare.questions import exam_questions, examples, read_questions
from shuyuan.prepare.split import Split
from shuyuan.prepare.translation import Gains
from shuyuan.recall.centring import reader
from shuyuan.recall.embedding import embed_passages
from shuyuan.recall.leaks import remembering

HERE = Path(__file__).parent
EMBEDDER, TRANSLATOR = "multilingual-e5-small", "qwen2.5-0.5b"
ALONE = ", by the embedder alone"


THIRDS, PLANTED = 12, 13  # draws of a third of the lessons, and translations planted in each
PAGES = 160  # guides whose titles are the exam, half of them in each language


def main() -> None:
    """Plant, look, count, write bench/results/leaks.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the packages of `corpora.py` are kept between runs")
    given = parser.parse_args()
    rows, _ = read_questions(HERE.parent / "examples" / "handbook" / "questions.jsonl")
    learned, asked = Split().split(rows)
    lessons, questions = examples(learned), exam_questions(asked)
    planted = [json.loads(line) for line in (HERE / "leaks.jsonl").read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(lessons, questions, Path(folder), Opened())
        hits = {name: [bench.hits(row, way) for row in planted] for name, way in WAYS.items()}
        honest = {"facts named": bench.alarms(lessons)}
        honest[f"facts named{ALONE}"] = bench.alone().alarms(lessons)
        honest[f"facts not named{ALONE}"] = bench.alone().alarms([replace(lesson, fact="") for lesson in lessons])
        curve = {name: bench.curve(hits[name], at) for name, at in CURVES.items()}
        draw = random.Random(0)
        thirds = [bench.among(draw.sample(lessons, len(lessons) // 3)) for _ in range(THIRDS)]
        among = {
            "the handbook": ([bench], [planted]),
            "a third of its lessons": (thirds, [draw.sample(planted, PLANTED) for _ in thirds]),
            "titles of guides": titles(guides(fetched(given.folder)), draw, bench),
        }
        elsewhere: dict[str, dict[str, Any]] = {}
        for name, (benches, of) in among.items():
            elsewhere[name] = translated(benches, of)
            elsewhere[f"{name}{ALONE}"] = translated([one.alone() for one in benches], of)
    spoken = [bench.asked[row["question"]].language for row in planted]
    for name, one in (("translation en→zh", "en"), ("translation zh→en", "zh")):
        own = zip(hits["translation"], spoken, strict=True)
        hits[name] = [of for of, tongue in own if tongue == one]
    found = {name: counted(of) for name, of in hits.items()}
    found[f"translation{ALONE}"] = elsewhere[f"the handbook{ALONE}"]["planted"]
    record = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "command": "python bench/leaks.py FOLDER",
        "shuyuan": __version__,
        "embedder": EMBEDDER,
        "language_model": TRANSLATOR,
        "seed": 0,
        "thresholds": {
            name: getattr(meaning, name)
            for name in (
                *("SAME", "ACROSS", "SUSPECT", "SUSPECT_ACROSS", "COVER", "COVER_ACROSS"),
                *("LOOKED_AT", "LOOKED_AT_ACROSS", "SAME_FACT", "ENOUGH", "TOLD_FROM", "TOLD_COVER", "GAIN", "TOLD"),
            )
        },
        "lessons": len(lessons),
        "questions": len(questions),
        "caught": found,
        "false_alarms": honest,
        "curve": curve,
        "translations": elsewhere,
    }
    write_json(HERE / "results" / "leaks.json", record)
    write_whole(HERE / "results" / "leaks.md", page(record))


def _traditional(row: dict[str, str]) -> str:
    import opencc

    return str(opencc.OpenCC("s2t").convert(row["question"]))


def _wide(row: dict[str, str]) -> str:
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in row["question"])


TONGUES = ("en", "zh")
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
    "paraphrase": (0.98, 0.99, 1.0, 1.005, 1.01, 1.015, 1.02, 1.03, 1.04),
    "translation": (1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 1.95, 2.0, 2.1),
}


class Opened:
    """The embedder and the language model; what they read once is not read again."""

    def __init__(self) -> None:
        self.embedder = open_embedder(EMBEDDER)
        self._read, self._known = reader(self.embedder), dict[str, Read]()
        self.gains = remembering(TRANSLATOR, {})

    def read(self, texts: Sequence[str]) -> list[Read]:
        """See `likeness.Reads`."""
        new = [text for text in texts if text not in self._known]
        self._known.update(zip(new, self._read(new), strict=True))
        return [self._known[text] for text in texts]


class Bench:
    """Lessons and an exam with their vectors."""

    def __init__(self, lessons: Sequence[Example], questions: Sequence[Question], cache: Path, opened: Opened) -> None:
        self.lessons, self.questions, self.cache, self.opened = lessons, questions, cache, opened
        self.gains: Gains | None = opened.gains
        self.asked = {question.text: question for question in questions}
        self._said = meaning.said(lessons, 10**9)[0]
        self._learned = self.vectors([one.text for one in self._said])
        self._asked = self.vectors([question.text for question in questions])

    def vectors(self, texts: Sequence[str]) -> meaning.Vectors:
        """One row a text."""
        return embed_passages(self.opened.embedder, texts, self.cache)

    def among(self, lessons: Sequence[Example]) -> Bench:
        """The same exam and other lessons."""
        return Bench(lessons, self.questions, self.cache, self.opened)

    def alone(self) -> Bench:
        """The same where there is no language model."""
        other = copy(self)
        other.gains = None
        return other

    def hits(self, row: dict[str, str], way: Callable[[dict[str, str]], str]) -> list[Hit]:
        """What the whole check says of one planted lesson among all others, about the question it was planted for."""
        lesson = Example("planted", (Message("user", way(row)), Message("assistant", "…")), place="planted:1")

        def own(found: Sequence[Hit]) -> list[Hit]:
            return [hit for hit in found if hit.example is lesson and hit.question.text == row["question"]]

        found = own(leaks([lesson], self.questions))
        if not found:
            said = meaning.said([lesson], 10**9)[0]
            learned = np.concatenate([self._learned, self.vectors([one.text for one in said])])
            with floors():
                found = own(self._alike([*self._said, *said], learned))
        return found

    def alarms(self, lessons: Sequence[Example]) -> dict[str, object]:
        """How many honest lessons are refused, and shown, by words and by meaning; and for another fact's question."""
        by_words = leaks(lessons, self.questions)
        said = meaning.said(lessons, 10**9)[0]
        learned = self.vectors([one.text for one in said])
        hits = self._alike(said, learned)
        refused = {hit.example.id for hit in [*hits, *by_words] if hit.sure}
        shown = {hit.example.id for hit in [*hits, *by_words]}
        fact = {lesson.id: lesson.fact for lesson in self.lessons}
        other = {hit.example.id for hit in [*hits, *by_words] if hit.sure and fact[hit.example.id] != hit.question.fact}
        return {
            "n": len(lessons),
            "by_words": len({hit.example.id for hit in by_words}),
            "refused": share([lesson.id in refused for lesson in lessons]),
            "refused_or_shown": share([lesson.id in shown for lesson in lessons]),
            "other_fact": share([lesson.id in other for lesson in lessons]),
        }

    def honest(self) -> list[Hit]:
        """What the check says of the lessons as they are."""
        return self._alike(self._said, self._learned)

    def _alike(self, said: Sequence[meaning.Said], learned: meaning.Vectors) -> list[Hit]:
        return meaning.alike(said, learned, self.questions, self._asked, self.opened.read, gains=self.gains)

    def curve(self, planted: Sequence[Sequence[Hit]], at: Sequence[float]) -> list[dict[str, float]]:
        """Detection against false alarms over thresholds, where lessons and questions name different facts."""
        across = min(at) > 1.2
        with floors():
            every = self.honest()
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


def titles(
    pages: Sequence[tuple[str, str]], draw: random.Random, like: Bench
) -> tuple[list[Bench], list[list[dict[str, str]]]]:
    """The titles of some guides in one language, an exam among those of the others; what to plant is in the other."""
    pages = draw.sample(pages, len(pages))
    rows = [(pair, at % 2) for at, pair in enumerate(pages[:PAGES])]
    questions = [Question(pair[at], pair[at], ("?",), TONGUES[at], pair[0]) for pair, at in rows]
    lessons = [
        Example(text, (Message("user", text), Message("assistant", "…")), pair[0])
        for pair in pages[PAGES:]
        for text in pair
    ]
    planted = [{"question": pair[at], "translation": pair[1 - at]} for pair, at in rows]
    return [Bench(lessons, questions, like.cache, like.opened)], [planted]


def translated(benches: Sequence[Bench], planted: Sequence[Sequence[dict[str, str]]]) -> dict[str, Any]:
    """Planted translations that are caught, and honest lessons of other facts that are taken for one."""
    hits = [bench.hits(row, WAYS["translation"]) for bench, of in zip(benches, planted, strict=True) for row in of]
    refused: list[bool] = []
    for bench in benches:
        sure = {hit.example.id for hit in bench.honest() if hit.sure and "language" in hit.why}
        refused += [lesson.id in sure for lesson in bench.lessons]
    return {"lessons": len(refused), "false": share(refused), "planted": counted(hits)}


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
    lines += ["", "| honest lessons | n | refused | refused or shown | refused for a question on another fact |"]
    lines += ["|---|---:|---:|---:|---:|"]
    lines += [
        f"| {name} | {of['n']} | {cell(of['refused'])} | {cell(of['refused_or_shown'])} | {cell(of['other_fact'])} |"
        for name, of in honest.items()
    ]  # type: ignore[attr-defined]
    for name, points in curve.items():  # type: ignore[attr-defined]
        lines += ["", f"| {name}: threshold | caught | false alarms |", "|---:|---:|---:|"]
        lines += [f"| {p['threshold']} | {p['caught']:.1%} | {p['false_alarms']:.2%} |" for p in points]
    lines += ["", "| translations among | lessons | refused of them | n | refused | refused or shown |"]
    lines += ["|---|---:|---:|---:|---:|---:|"]
    for name, of in record["translations"].items():  # type: ignore[attr-defined]
        found = " | ".join(cell(of["planted"][one]) for one in ("refused", "refused_or_shown"))
        false = f"{of['false']['value']:.2%} ({of['false']['low']:.2%}–{of['false']['high']:.2%})"
        lines.append(f"| {name} | {of['lessons']} | {false} | {of['planted']['n']} | {found} |")
    lines += [
        "",
        f"In brackets: 95 % intervals. {record['date']}, {record['machine']}, Shuyuan {record['shuyuan']},",
        f"{EMBEDDER}, {TRANSLATOR}.",
    ]
    lines += [
        f"Thresholds: {record['thresholds']}. False alarms of the curves: lessons of other facts than the question's."
    ]
    lines += ["", f"Command: `{record['command']}`", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
