"""Every metric equals its reference library on random and adversarial cases: a small turn of bench/metrics.py."""

import importlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from conftest import REPOSITORY

from shuyuan.base.records import GREEDY, Answer, Conversation, Decoding, Question
from shuyuan.examine.papers import Paper
from shuyuan.examine.scoring import score
from shuyuan.examine.sitting import Candidate, Cost, sit
from shuyuan.measure.bleu import Bleu
from shuyuan.measure.ece import Ece
from shuyuan.measure.marking import Metric
from shuyuan.measure.token_f1 import TokenF1

NAMES = [
    "accuracy", "exact match", "exact match (text)", "token F1", "precision, macro and micro",
    "recall, macro and micro", "F1, macro and micro", "ROUGE-1", "ROUGE-2", "ROUGE-L", "BLEU, 13a", "BLEU, zh", "chrF",
    "chrF++", "self-BLEU", "distinct-n", "nDCG@k", "recall@k", "MRR", "ECE", "Brier", "perplexity", "bits per byte",
    "pass@k", "self-consistency", "refusal precision", "refusal recall", "citation precision", "citation recall",
]  # fmt: skip


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(REPOSITORY / "bench")
    return importlib.import_module("metrics")


def test_all_are_compared(bench: ModuleType) -> None:
    assert [check.name for check in bench.CHECKS] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_metric_equals_its_reference(bench: ModuleType, name: str) -> None:
    (check,) = (check for check in bench.CHECKS if check.name == name)
    try:
        compared, worst = bench.deviation(check, 25, seed=7)
    except ModuleNotFoundError as missing:
        pytest.skip(f"{missing.name} is not installed; bench/metrics.py asks for it")
    assert compared >= 25
    assert worst <= bench.MOST


def test_a_wrong_metric_would_be_seen(bench: ModuleType) -> None:
    def off(random, n):  # type: ignore[no-untyped-def]
        yield from ((1.0, 1.0 + 1e-8) for _ in range(n))

    assert bench.deviation(bench.Check("off", "us", off), 5)[1] > bench.MOST


class Says:
    """An assistant that gives everybody the same answer."""

    def __init__(self, text: str) -> None:
        self.name = self.text = text

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding = GREEDY) -> list[Answer]:
        return [Answer(self.text) for _ in conversations]


def test_pooled_metrics_are_scored_over_a_whole_paper_and_compared_with_the_base(tmp_path: Path) -> None:
    class General(Paper):
        pool = "general"

        def questions(self, material: Sequence[Question]) -> tuple[Question, ...]:
            return ()

        def metrics(self) -> tuple[Metric, ...]:
            return (Bleu(), TokenF1(), Ece())

    asked = [Question(f"q{at}", "?", ("the cat sat on the mat",), "en", f"f{at}") for at in range(12)]
    said = {"bare": "a dog sat on the mat", "taught": "the cat sat on the mat now"}
    candidates = [Candidate(name, name, partial(Says, text)) for name, text in said.items()]
    sat = {each.name: sit(each, asked, (), tmp_path / f"{each.name}.jsonl") for each in candidates}
    pools = {"general": asked, "material": []}
    sheets, _ = score([General()], pools, sat, relevant={}, costs=dict.fromkeys(said, Cost()))
    bare, taught = sheets
    assert set(taught.scores) == {"general/bleu", "general/token-f1"}, "no probabilities, no calibration"
    bleu = taught.scores["general/bleu"]
    assert bleu.value == pytest.approx(Bleu().measure(Answer(said["taught"]), asked[0]))
    assert "|by:fact|seed:0" in bleu.signature
    assert taught.changes["general/bleu"].value == pytest.approx(bleu.value - bare.scores["general/bleu"].value)
    assert taught.marks["general/token-f1"]["q3"] == pytest.approx(taught.scores["general/token-f1"].value)
    assert taught.marks["general/ece"] == {}
