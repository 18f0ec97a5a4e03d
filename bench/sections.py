"""Sections of Debian's reference, found by their headings, in the same language and in the other one; and after tuning.

A section's text is cut at 350 (Chinese) or 700 (English) characters and loses its heading, which is the question; the
two languages are paired by chapter and number, and a heading that stands in several sections is not asked. One library
a language. Half of the headings choose the search settings of each direction, as `shuyuan tune search` does; both
settings are then asked with the other half.

    python bench/sections.py FOLDER    # FOLDER is that of `answers.py`; half a CPU-minute
"""

from __future__ import annotations

import argparse
import itertools
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corpora import LEAST, MOST, fetched
from paired import keep, place, stamp

from shuyuan.base.files import fingerprint
from shuyuan.base.progress import say
from shuyuan.base.records import Passage, Question
from shuyuan.examine.tuning import DEPTHS, MEASURES, best_settings, halves, measured
from shuyuan.load.embedder import open_embedder
from shuyuan.read.reading import read_file
from shuyuan.recall.fuse import Fuse
from shuyuan.recall.searching import Library

EMBEDDER = "multilingual-e5-small"
PACKAGES = {"en": ("debian-reference-en", "en"), "zh": ("debian-reference-zh-cn", "zh-cn")}
LEGS = {"hybrid": Fuse(), "meaning alone": Fuse(word_weight=0.0), "words alone": Fuse(word_weight=1.0)}
_NUMBER = re.compile(r"(\d+(?:\.\d+)*)\. +(.+)", re.DOTALL)


def main() -> None:
    """Pair, build, search, tune, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the packages are kept between runs")
    given = parser.parse_args()
    fetched(given.folder)
    sections = {language: read(given.folder, language) for language in PACKAGES}
    paired = sorted(sections["en"].keys() & sections["zh"].keys())
    libraries: dict[str, Library] = {}
    embedder = open_embedder(EMBEDDER)
    with tempfile.TemporaryDirectory() as scratch:
        for language, of in sections.items():
            passages = [passage for number in paired for passage in of[number][1:]]
            libraries[language] = Library.build(
                Path(scratch) / language, passages, embedder, given.folder, store="memory"
            )
        figures = {
            f"{asked}→{held}": direction(
                {number: sections[asked][number][0] for number in paired},
                {number: sections[held][number][1] for number in paired},
                libraries[held],
            )
            for asked, held in itertools.product(PACKAGES, repeat=2)
        }
    command = str(stamp()["command"]).replace(str(given.folder), "FOLDER")
    record = {**stamp(), "command": command, "pairs": len(paired), "directions": figures}
    keep("sections", "debian-reference", record, drawn)
    say(drawn({"debian-reference": record}))


def read(folder: Path, language: str) -> dict[str, tuple[str, Passage]]:
    """Number of a section → its heading, and its text as a passage."""
    package, ending = PACKAGES[language]
    chapters = sorted((folder / "deb" / package).rglob(f"debian-reference/ch*.{ending}.html"))
    found: dict[str, tuple[str, Passage]] = {}
    for chapter in {file.resolve(): file for file in chapters}.values():
        document = read_file(chapter, chapter.name)
        starts = [heading.start for heading in document.headings] + [len(document.text)]
        for heading, end in zip(document.headings, starts[1:], strict=True):
            body = document.text[heading.start : end].partition("\n")[2].strip()[: MOST[language]]
            numbered = _NUMBER.fullmatch(heading.title.strip())
            if numbered and len(body) >= LEAST[language]:
                name = fingerprint(language, numbered[1])
                found[numbered[1]] = numbered[2], Passage(name, name, numbered[1], 0, len(body), body)
    return found


def direction(headings: Mapping[str, str], held: Mapping[str, Passage], library: Library) -> dict[str, Any]:
    """Every leg on all headings that stand there once, then the default and what was tuned on the held-out half."""
    often = Counter(headings.values())
    asked = [
        Question(number, heading, ("?",), "", number) for number, heading in headings.items() if often[heading] == 1
    ]
    gold = {question.id: [held[question.id].id] for question in asked}
    lists = dict(zip([q.id for q in asked], library.rankings([q.text for q in asked], max(DEPTHS)), strict=True))
    figures: dict[str, Any] = {"n": len(asked)}
    for leg, fuse in LEGS.items():
        figures[leg] = measured(fuse, asked, lists, gold)
    tuned = best_settings(library, asked, gold, {})
    figures["tuned"] = {
        "n": len(halves(asked, {})[1]),
        "chosen": tuned.chosen.model_dump(),
        "before": tuned.before,
        "after": tuned.after,
    }
    return figures


def drawn(record: Mapping[str, Any]) -> str:
    """The record for a reader."""
    head, _, rest = (__doc__ or "").partition("\n\n")
    lines = [f"# {head}", "", rest.partition("\n\n    ")[0], ""]
    for of in record.values():
        lines += [place(of), "", f"{of['pairs']} pairs of sections.", ""]
        lines += [f"| question→section | leg | n | {' | '.join(MEASURES)} |", f"|-|-|-:|{'-:|' * len(MEASURES)}"]
        for name, row in of["directions"].items():
            lines += [f"| {name} | {leg} | {row['n']} | {_cells(row[leg])} |" for leg in LEGS]
        lines += ["", "The held-out half:", ""]
        lines += [f"| question→section | settings | n | {' | '.join(MEASURES)} |", f"|-|-|-:|{'-:|' * len(MEASURES)}"]
        for name, row in of["directions"].items():
            tuned = row["tuned"]
            chosen = ", ".join(f"{key} {value}" for key, value in tuned["chosen"].items())
            kept = tuned["chosen"] == Fuse().model_dump()
            lines.append(f"| {name} | default | {tuned['n']} | {_cells(tuned['before'])} |")
            chosen = "the default is kept" if kept else f"tuned: {chosen}"
            lines.append(f"| {name} | {chosen} | {tuned['n']} | {_cells(tuned['after'])} |")
        lines.append("")
    return "\n".join(lines)


def _cells(row: Mapping[str, float]) -> str:
    return " | ".join(f"{row[measure]:.3f}" for measure in MEASURES)


if __name__ == "__main__":
    main()
