"""Questions others ask: which wordings are taken for one question, and what is found related to one.

Near duplicates: 52 exam questions of the handbook, each with a paraphrase in nearly the same words and a translation
(bench/leaks.jsonl), asked of an empty workspace: the paraphrase should be the same question, the translation another
one that is related. All wordings: the handbook's 930 answerable questions, 93 facts in two languages, each in five
wordings that were written to be far from each other, asked one after another in a shuffled order; no two facts should
become one question. An answer is taken to be the gold one, citing the sentence that proves it (the row's `evidence`),
so that the merging is judged and not the model; once each is answered, once none is.
`SAME` and `ALIKE` were chosen on the near duplicates and on the facts of even number; the odd ones did not decide.

python bench/asked.py
"""

from __future__ import annotations

import itertools
import json
import math
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from documents import machine

from shuyuan import __version__
from shuyuan.base.asked import Wording
from shuyuan.base.files import write_json, write_whole
from shuyuan.base.material import File, Material
from shuyuan.base.records import Answer, Citation, Document
from shuyuan.load.embedder import open_embedder
from shuyuan.recall import asked
from shuyuan.recall.centring import Centres
from shuyuan.store.contract import normal

HERE = Path(__file__).parent
ROOT = HERE.parent
EMBEDDER = "multilingual-e5-small"
SAME = (0.60, 0.70, 0.75, 0.80, 0.85, 0.90)
ALIKE = (0.80, 0.85, 0.90, 0.93, 0.95)
Row = dict[str, Any]


def main() -> None:
    """Ask, count, write bench/results/asked.{json,md}."""
    rows = [row for row in read(ROOT / "examples" / "handbook" / "questions.jsonl") if row["answer"] is not None]
    by_question = {row["question"]: row for row in rows}
    planted = read(HERE / "leaks.jsonl")
    embedder = open_embedder(EMBEDDER)
    place = Place(embedder, Centres.learn(embedder))
    for row in rows:
        row["vector"] = place(row["question"])
    facts = sorted({row["fact"] for row in rows})
    halves = [[row for row in rows if facts.index(row["fact"]) % 2 == half] for half in (0, 1)]
    pairs = {
        way: [(by_question[one["question"]], _with(by_question[one["question"]], one[way], place)) for one in planted]
        for way in ("paraphrase", "translation")
    }
    shipped = asked.SAME, asked.ALIKE
    record: dict[str, Any] = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "command": "python bench/asked.py",
        "shuyuan": __version__,
        "embedder": EMBEDDER,
        "seed": 0,
        "thresholds": {name: getattr(asked, name) for name in ("SAME", "ALIKE", "RELATED")},
        "rows": [],
    }
    for answered, thresholds in ((True, SAME), (False, ALIKE)):
        for at in thresholds:
            asked.SAME, asked.ALIKE = at, at if not answered else shipped[1]
            near = {way: sum(joined(*pair, answered) for pair in of) for way, of in pairs.items()}
            wordings = [merged(half, answered) for half in halves]
            row = {"answered": answered, "at": at, "planted": len(planted), **near, "wordings": wordings}
            record["rows"].append(row)
    asked.SAME, asked.ALIKE = shipped
    record["related"] = related(pairs["translation"], place)
    write_json(HERE / "results" / "asked.json", record)
    write_whole(HERE / "results" / "asked.md", page(record))


class Place:
    """A question → its vector, as a library has it; `raw` as the embedder gives it."""

    def __init__(self, embedder: Any, centres: Centres) -> None:
        self._embedder, self._centres = embedder, centres

    def __call__(self, text: str) -> np.ndarray:
        return self._centres.taken_off(self.raw(text), [normal(text)], "query")[0]

    def raw(self, text: str) -> np.ndarray:
        """[1, width]."""
        return np.asarray(self._embedder.embed([normal(text)], "query"))


def read(file: Path) -> list[Row]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _with(row: Row, question: str, place: Place) -> Row:
    """The same row asked in other words."""
    return {**row, "question": question, "vector": place(question)}


def joined(first: Row, second: Row, answered: bool) -> bool:
    """Whether two wordings, asked one after the other, become one question."""
    return len(grouped([first, second], answered)) == 1


def merged(rows: Sequence[Row], answered: bool) -> dict[str, float]:
    """Of the pairs of one fact and language, the share brought together; of the pairs together, those of two facts."""
    groups = grouped(random.Random(0).sample(list(rows), len(rows)), answered)
    pairs = [pair for of in groups.values() for pair in itertools.combinations(of, 2)]
    right = sum((one["fact"], one["language"]) == (other["fact"], other["language"]) for one, other in pairs)
    wanted = sum(math.comb(n, 2) for n in Counter((row["fact"], row["language"]) for row in rows).values())
    return {"questions": len(groups), "together": right / wanted, "wrong": len(pairs) - right, "of": len(pairs)}


def grouped(rows: Sequence[Row], answered: bool) -> dict[str, list[Row]]:
    """Ask the rows, in order, of an empty workspace: question id → the rows that are it."""
    groups: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as folder, closing(Material(Path(folder) / "m.sqlite")) as material:
        for source in {row["source"] for row in rows}:
            document = Document(source, source, "", (ROOT / source).read_text(encoding="utf-8"), "f", "und")
            material.put_document(File(source, "f", 1, 1.0), document)
        for row in rows:
            answer = _answer(material, row) if answered else None
            this = Wording("", row["question"], EMBEDDER, row["vector"].tobytes())
            under = asked.same(material.asked, this, answer)
            name = material.asked.put(replace(this, asked=under), answer, "gold", 1.0)
            groups.setdefault(name, []).append(row)
    return groups


def _answer(material: Material, row: Row) -> Answer:
    document = material.document(row["source"])
    assert document
    start, quote = document.text.index(row["evidence"]), row["evidence"]
    gold = row["answer"] if isinstance(row["answer"], str) else row["answer"][0]
    return Answer(gold, (Citation(row["source"], start, start + len(quote), quote),))


def related(pairs: Sequence[tuple[Row, Row]], place: Place) -> dict[str, dict[str, float]]:
    """Where the translation of a question stands among all questions and translations, and how many are near."""
    texts = [row["question"] for pair in pairs for row in pair]
    found = {}
    for name, vectors in (
        ("as embedded", np.concatenate([place.raw(text) for text in texts])),
        ("centred", np.stack([place(text) for text in texts])),
    ):
        cosine = vectors @ vectors.T
        np.fill_diagonal(cosine, -1)
        mates = cosine[np.arange(len(texts)), np.arange(len(texts)) ^ 1]
        ranks = (cosine > mates[:, None]).sum(1) + 1
        near = cosine >= asked.RELATED
        found[name] = {
            "n": len(texts),
            "translation first": float(np.mean(ranks == 1)),
            "in the first five": float(np.mean(ranks <= 5)),
            "translation at least RELATED": float(np.mean(mates >= asked.RELATED)),
            "all at least RELATED, a question": float(near.sum(1).mean()),
        }
    return found


def page(record: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = [f"# Questions others ask\n\n{record['date']} · {record['machine']} · `{record['command']}`\n", NOTES]
    lines.append(f"\nShipped: {', '.join(f'`{name}` {value}' for name, value in record['thresholds'].items())}.\n")
    lines.append("| | cosine | paraphrases joined | translations joined | wordings of one fact joined | wrong pairs |")
    lines.append("|---|---:|---:|---:|---:|---:|")
    for row in record["rows"]:
        name = "answered (`SAME`)" if row["answered"] else "unanswered (`ALIKE`)"
        near = " | ".join(f"{row[way]} of {row['planted']}" for way in ("paraphrase", "translation"))
        together = ", ".join(f"{half['together']:.1%}" for half in row["wordings"])
        wrong = ", ".join(f"{half['wrong']} of {half['of']:,}" for half in row["wordings"])
        lines.append(f"| {name} | {row['at']} | {near} | {together} | {wrong} |")
    lines.append("\nThe last two columns: facts of even number, facts of odd number.\n")
    lines.append("| vectors | " + " | ".join(record["related"]["centred"]) + " |")
    lines.append("|---|" + "---:|" * len(record["related"]["centred"]))
    for name, one in record["related"].items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.3g}" for value in one.values()) + " |")
    return "\n".join(lines) + "\n"


NOTES = (__doc__ or "").split("\n\npython ", maxsplit=1)[0].partition("\n\n")[2]

if __name__ == "__main__":
    main()
