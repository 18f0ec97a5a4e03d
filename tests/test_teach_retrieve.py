"""The route `retrieve`: builds the library of a run, opens it again, and refuses lessons with nothing to look up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from tiny import tiny_embedder

from shuyuan.base.errors import Fixable
from shuyuan.base.records import GREEDY, Answer, Conversation, Decoding, Lessons, Passage, Run, ask
from shuyuan.recall.fuse import Fuse
from shuyuan.recall.grounded import GroundedAssistant
from shuyuan.teach.retrieve import Retrieve

TEXTS = {"a.md": "The kiln is fired at 1280 degrees.", "乙.md": "釉料要过筛三遍。", "c.md": "Clay dries for nine days."}
PASSAGES = tuple(
    Passage(f"p-{source}", f"d-{source}", source, 0, len(text), text) for source, text in sorted(TEXTS.items())
)


class Nine:
    """An assistant that always answers the same, and keeps what it was asked."""

    name = "nine"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def nats(self, texts: Sequence[str]) -> list[float]:
        return [0.0 for _ in texts]

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding = GREEDY) -> list[Answer]:
        self.asked += [conversation[-1].content for conversation in conversations]
        return [Answer("nine days") for _ in conversations]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_embedder(tmp_path_factory.mktemp("models") / "tiny-embedder"))


@pytest.fixture
def run(tmp_path: Path, embedder: str) -> Run:
    return Run("retrieve", tmp_path / "runs" / "retrieve", tmp_path / "cache", embedder=embedder)


@pytest.mark.parametrize("store", ["lance", "memory"])
def test_taught_and_opened_answer_alike(run: Run, store: str) -> None:
    inner, way = Nine(), Retrieve(store=store, threshold=-1.0, word_weight=0.9, passages=2)
    taught = way.teach(inner, Lessons(passages=PASSAGES), run)
    (answer,) = taught.answer([ask("How long does clay dry?")])
    assert taught.name == "retrieve"
    assert answer.text == "nine days"
    assert [(c.source, c.quote) for c in answer.citations] == [("c.md", "Clay dries for nine days.")]
    assert "Clay dries" in inner.asked[0]
    assert inner.asked[0].count("\n[") == 2
    assert way.open(inner, run).answer([ask("How long does clay dry?")])[0].citations == answer.citations


def test_what_is_not_in_the_library_is_refused(run: Run) -> None:
    way = Retrieve(store="memory", threshold=-1.0)
    lessons = Lessons(passages=tuple(p for p in PASSAGES if p.source != "c.md"))
    taught = way.teach(Nine(), lessons, run)
    (answer,) = taught.answer([ask("How long does clay dry?")])
    assert answer.refused
    assert isinstance(taught, GroundedAssistant)
    (answer,) = taught.in_mode("chat").answer([ask("How long does clay dry?")])
    assert answer.beyond


def test_forgotten_documents_are_no_longer_found(run: Run) -> None:
    way = Retrieve(store="memory", threshold=-1.0)
    way.teach(Nine(), Lessons(passages=PASSAGES), run)
    taught = way.teach(Nine(), Lessons(passages=PASSAGES[:2]), run)
    assert isinstance(taught, GroundedAssistant)
    assert {hit.passage.source for hit in taught.library.search("clay", 9)} == {p.source for p in PASSAGES[:2]}


def test_no_passages_are_refused(run: Run) -> None:
    with pytest.raises(Fixable, match="shuyuan add"):
        Retrieve().teach(Nine(), Lessons(), run)


def test_nothing_to_open_is_said(run: Run) -> None:
    with pytest.raises(Fixable, match="no finished library"):
        Retrieve().open(Nine(), run)


def test_settings_of_the_search_are_those_of_its_room() -> None:
    for name in Fuse.model_fields.keys() & Retrieve.model_fields.keys():
        assert Retrieve.model_fields[name].metadata == Fuse.model_fields[name].metadata, name
        # Left out, how two rankings are joined is the library's own affair.
        assert Retrieve.model_fields[name].default is None, name
