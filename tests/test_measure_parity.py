"""Every metric equals its reference library on random and adversarial cases: a small turn of bench/metrics.py."""

import importlib
from types import ModuleType

import pytest
from conftest import REPOSITORY

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
