"""The handbook against its questions and against the code: every gold answer still stands, every default is true."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from shuyuan.base import files, material, progress, settings, workspace
from shuyuan.base.errors import Fixable
from shuyuan.base.shelf import choices, choose
from shuyuan.examine import statistics
from shuyuan.examine.papers import USUAL
from shuyuan.load.catalogue import entries
from shuyuan.measure.text import contains, tokens
from shuyuan.prepare import chunk, leak
from shuyuan.prepare.pack import Pack
from shuyuan.prepare.questions import exam_questions, examples, read_questions
from shuyuan.prepare.split import Split
from shuyuan.read.reading import walk
from shuyuan.train import checkpoint, loop, optimiser, schedule

ROOT = Path(__file__).parent.parent
FILE = ROOT / "examples" / "handbook" / "questions.jsonl"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
ANSWERABLE = [row for row in ROWS if row["answer"] is not None]
UNANSWERABLE = [row for row in ROWS if row["answer"] is None]
NOT_ASKED = {
    "commands.md",
    "dependencies.md",
}  # drawn from the program; after the paper was set
PAGES = sorted({page.name for page in (ROOT / "docs" / "zh").glob("*.md")} - NOT_ASKED)
MOST_ALIKE = 0.6


def golds(row: dict[str, Any]) -> list[str]:
    return row["answer"] if isinstance(row["answer"], list) else [row["answer"]]


def holds_gold(text: str, row: dict[str, Any]) -> bool:
    said = tokens(text, row["language"])
    return any(contains(said, tokens(gold, row["language"])) for gold in golds(row))


def test_every_gold_answer_still_stands_in_the_documents() -> None:
    pages = {source: (ROOT / source).read_text(encoding="utf-8") for source in {row["source"] for row in ANSWERABLE}}
    for row in ANSWERABLE:
        assert row["evidence"] in pages[row["source"]], (row["fact"], row["source"])
        assert holds_gold(row["evidence"], row), (row["fact"], row["evidence"])


def test_what_is_learned_holds_the_gold_answer() -> None:
    for row in ANSWERABLE:
        assert ("reply" in row) == (row["use"] == "learn")
        assert row["use"] == "exam" or holds_gold(row["reply"], row), (row["fact"], row["reply"])


def test_no_exam_question_gives_its_answer_away() -> None:
    for row in ANSWERABLE:
        assert row["use"] == "learn" or not holds_gold(row["question"], row), row["question"]


def test_there_are_enough_questions_in_both_languages() -> None:
    wordings: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in ANSWERABLE:
        wordings[row["fact"], row["language"]][row["use"]] += 1
        assert row["source"].startswith("docs/zh/") == (row["language"] == "zh")
    assert len(wordings) >= 120
    assert {fact for fact, language in wordings if language == "zh"} == {f for f, tongue in wordings if tongue == "en"}
    assert set(map(str, wordings.values())) == {str(Counter(learn=3, exam=2))}
    assert len({row["question"] for row in ROWS}) == len(ROWS)
    unanswerable = Counter((row["use"], row["language"]) for row in UNANSWERABLE)
    assert unanswerable["exam", "zh"] == unanswerable["exam", "en"] >= 12
    assert unanswerable["learn", "zh"] == unanswerable["learn", "en"] >= 4


def test_every_page_is_asked_about() -> None:
    asked = Counter(row["source"] for row in ANSWERABLE)
    assert set(asked) == {f"docs/{folder}{page}" for folder in ("", "zh/") for page in PAGES}
    assert min(asked.values()) >= 15


def test_no_exam_question_resembles_one_that_is_learned() -> None:
    grams: dict[str, list[tuple[str, set[str]]]] = {"learn": [], "exam": []}
    for row in ROWS:
        text = leak.normal(row["question"])
        pieces = {text[at : at + leak.GRAM] for at in range(max(1, len(text) - leak.GRAM + 1))}
        grams[row["use"]].append((row["question"], pieces))
    for asked, theirs in grams["exam"]:
        for learned, ours in grams["learn"]:
            shared = len(theirs & ours)
            assert shared < MOST_ALIKE * (len(theirs) + len(ours) - shared), (asked, learned)


def test_the_questions_pass_the_leak_check() -> None:
    rows, kept = read_questions(FILE)
    assert kept.kept == len(ROWS)
    learned, asked = Split().split(rows)
    leak.check_leaks(examples(learned), exam_questions(asked))
    stolen = next(row for row in ROWS if row["use"] == "exam")["question"]
    with pytest.raises(Fixable, match="stand in the lessons"):
        leak.check_leaks(examples([row for row in rows if row.question == stolen]), exam_questions(asked))


def defaults() -> dict[str, object]:
    """The facts that are constants of the code, by fact id."""
    lora, full = choose("teach", "lora")(), choose("teach", "full")()
    retrieve, block = choose("teach", "retrieve")(), choose("teach", "continue")().block
    sizes = {name: entry.wanted.bytes for name, entry in entries().items()}
    return {
        "most-settings": settings.MOST_SETTINGS,
        "settings-file": workspace.SETTINGS_FILE,
        "default-model": workspace.Choices().model,
        "embedder-name": workspace.Choices().embedder,
        "default-download": sizes["qwen2.5-0.5b"] // 10**6,
        "smollm-size": sizes["smollm2-135m"] // 10**6,
        "teacher-size": round(sizes["qwen2.5-1.5b"] / 10**9, 2),
        "formats-count": len(choices("read")),
        "passage-zh": chunk.DENSE_CHARACTERS,
        "passage-other": f"{chunk.OTHER_CHARACTERS:,}",
        "duplicate-threshold": leak.SIMILAR,
        "ngram": leak.GRAM,
        "exact-limit": f"{choose('store', 'lance')().exact_below:,}",
        "rrf-constant": choose("recall", "fuse")().k,
        "search-depth": choose("recall", "fuse")().depth,
        "word-weight": choose("recall", "fuse")().word_weight,
        "default-mode": retrieve.mode,
        "retrieve-passages": retrieve.passages,
        "row-tokens": f"{Pack().row_tokens:,}",
        "batch": lora.batch,
        "beta-two": optimiser.BETAS[1],
        "warm-up": f"{schedule.WARMUP_SHARE:.0%}",
        "floor": f"{schedule.FLOOR_SHARE:.0%}",
        "clip": loop.CLIP_NORM,
        "checkpoint-every": loop.CHECKPOINT_EVERY,
        "checkpoints-kept": checkpoint.KEEP,
        "log-interval": round(progress.SECONDS_BETWEEN_LINES),
        "lora-rank": lora.rank,
        "lora-alpha": round(lora.alpha),
        "lora-rate": f"{lora.learning_rate:.0e}".replace("e-0", "e-"),
        "lora-epochs": lora.epochs,
        "full-rate": f"{full.learning_rate:.0e}".replace("e-0", "e-"),
        "full-epochs": full.epochs,
        "continue-block": block,
        "papers-count": len(USUAL),
        "bootstrap-count": f"{statistics.RESAMPLES:,}",
        "confidence": f"{1 - statistics.LEVEL:.0%}",
    }


@pytest.mark.parametrize("fact", defaults())
def test_the_handbook_tells_the_defaults_of_the_code(fact: str) -> None:
    value = tokens(str(defaults()[fact]))
    rows = [row for row in ANSWERABLE if row["fact"] == fact]
    assert rows
    for row in rows:
        assert value in [tokens(gold) for gold in golds(row)], row["answer"]


def test_the_page_on_routes_tells_the_rate_of_continue() -> None:
    rate = f"{choose('teach', 'continue')().learning_rate:.0e}".replace("e-0", "e-")
    for folder in ("docs", "docs/zh"):
        part = (ROOT / folder / "teach.md").read_text(encoding="utf-8").split("\n## continue\n")[1]
        assert rate in part.split("\n## ")[0]


def test_the_database_is_as_durable_as_the_handbook_says(tmp_path: Path) -> None:
    kept = material.Material(tmp_path / "material.sqlite")
    assert kept._db.execute("pragma synchronous").fetchone() == (2,)  # FULL
    assert kept._db.execute("pragma journal_mode").fetchone() == ("wal",)


def test_what_exams_found_is_not_material_of_the_handbook() -> None:
    taken = [file.relative_to(ROOT / "docs") for file in walk(ROOT / "docs").files]
    assert Counter(map(str, taken)) == Counter(
        f"{folder}{page}" for page in {*PAGES, *NOT_ASKED} for folder in ("", "zh/")
    )
    assert list((ROOT / "docs" / "reports").glob("*/report.html")), "there is nothing to leave out"


def test_every_page_has_its_twin_and_every_link_leads_somewhere() -> None:
    for page in PAGES:
        both = [(ROOT / "docs" / folder / page).read_text(encoding="utf-8") for folder in ("", "zh")]
        english, chinese = ([len(mark) for mark in re.findall(r"^(#+) ", text, re.MULTILINE)] for text in both)
        assert english == chinese, page
        assert len(re.findall(r"^```", both[0], re.MULTILINE)) == len(re.findall(r"^```", both[1], re.MULTILINE)), page
    for file in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "README.zh.md"]:
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", file.read_text(encoding="utf-8")):
            if "://" not in link:
                assert files.inside(ROOT, str((file.parent / link).resolve())).exists(), f"{file}: {link}"
