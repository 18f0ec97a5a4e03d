"""Questions others ask: which are kept, which are one question, and which are near."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from test_recall import DOCUMENTS, Extracts, HashedTerms, passages
from test_recall_answer import Says

from shuyuan.base.asked import Wording
from shuyuan.base.marks import Mark
from shuyuan.base.material import File, Material
from shuyuan.base.records import GREEDY, Answer, Decoding, Document, Message, ask
from shuyuan.base.workspace import Workspace
from shuyuan.recall.asked import LONGEST, keep, related
from shuyuan.recall.ground import Ground
from shuyuan.recall.grounded import GroundedAssistant
from shuyuan.recall.searching import Library

RANK = "What is the default rank?"


@pytest.fixture
def material(workspace: Workspace) -> Material:
    for source, text in DOCUMENTS.items():
        document = Document(f"doc-{source}", source, source, text, "f", "zh")
        workspace.material.put_document(File(source, "f", 1, 1.0), document)
    return workspace.material


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library.build(tmp_path / "library", passages(), HashedTerms(), tmp_path / "cache", store="memory")


def asked(material: Material, library: Library, *turns: str, says: Sequence[str] = (), mode: str = "query") -> str:
    """Ask, and keep what was asked; the turns are the asker's, with an answer between any two."""
    inner = Says(*says) if says else Extracts()
    assistant = GroundedAssistant("retrieve", inner, library, Ground(mode=mode, threshold=-1.0))
    conversation = [turn for text in turns for turn in (Message("user", text), Message("assistant", "…"))][:-1]
    (answer,) = assistant.answer([conversation])
    return keep(material, assistant, conversation, answer)


def test_what_cites_is_kept_with_its_places(material: Material, library: Library) -> None:
    name = asked(material, library, f" {RANK} ")
    one = material.asked.get(name)
    assert (one.text, one.state, one.assistant, one.public) == (RANK, "answered", "retrieve", False)
    (cited,) = one.answer.citations
    assert DOCUMENTS[cited.source][cited.start : cited.end] == cited.quote == "The default rank is 16."
    assert asked(material, library, "ＷＨＡＴ is the DEFAULT rank ？") == name
    assert material.asked.get(name).times == 2


def test_what_a_group_alone_may_see_leaves_no_question(material: Material, library: Library) -> None:
    name = asked(material, library, RANK)
    source = material.asked.get(name).answer.citations[0].source
    material.put_mark(source, Mark(tags=("kept",)))
    assert material.asked.get(name).answer
    material.put_mark(source, Mark(group="掌柜"))
    assert material.asked.find()[1] == 0
    assert asked(material, library, RANK) == ""
    material.put_mark(source, Mark())
    assert material.asked.get(asked(material, library, RANK)).answer


def test_what_is_refused_or_beyond_is_unanswered(material: Material, library: Library) -> None:
    refused = asked(material, library, "法国的首都在哪里？🗼", says=["不知道。"] * 2)
    beyond = asked(material, library, "Who wrote Faust?", says=["No answer."] * 2 + ["Goethe."], mode="chat")
    assert [material.asked.get(name).state for name in (refused, beyond)] == ["unanswered"] * 2


def test_only_what_others_could_ask_is_kept(material: Material, library: Library) -> None:
    assert asked(material, library, RANK, "And its price?") == "", "a follow-up cannot be read alone"
    assert asked(material, library, RANK, "默认显示几段资料？"), "a change of subject can"
    assert asked(material, library, f"{RANK}{'长' * LONGEST}") == ""
    assert keep(material, Says(), ask(RANK), Answer("16")) == "", "nobody looked anything up"
    assistant = GroundedAssistant("retrieve", Extracts(), library, Ground(threshold=-1.0))
    (answer,) = assistant.answer([ask(RANK)])
    for how in (Decoding(schema="{}"), Decoding(tools="[]")):
        assert keep(material, assistant, ask(RANK), answer, how) == "", "a program asks, and reads no sentences"
    assert keep(material, assistant, ask(RANK), replace(answer, cut=True)) == "", "half an answer"
    material.asked.keep("off")
    assert keep(material, assistant, ask(RANK), answer, GREEDY) == ""
    assert material.asked.find()[1] == 1


def test_two_wordings_answered_from_one_sentence_are_one_question(material: Material, library: Library) -> None:
    name = asked(material, library, RANK)
    assert asked(material, library, "The default rank, what is it?") == name
    assert material.asked.get(name).wordings == (RANK, "The default rank, what is it?")
    assert asked(material, library, "What is the default rank of 16?") != name, "a number makes another question"
    assert asked(material, library, "What is the default split?", says=["不知道。"] * 2) != name, "nor did that cite it"


def test_related_ones_are_found_in_order_once_each_and_only_where_they_may_be_seen(material: Material) -> None:
    def put(text: str, vector: Sequence[float], under: str = "") -> str:
        import numpy as np

        place = np.array(vector, np.float32) / np.linalg.norm(vector)
        return material.asked.put(Wording(under, text, "e", place.tobytes()), None, "r", 1.0)

    this = put("this", [1, 0, 0])
    near, nearer = put("near", [1, 0.8, 0]), put("更近 🎓", [1, 0.3, 0])
    put("also this", [0.9, 0.1, 0], this)
    put("near, too", [1, 0, 0.9], near)
    put("far", [0, 1, 0])
    material.asked.put(Wording("", "elsewhere", "another embedder", b"\0\0\x80?"), None, "r", 1.0)
    assert [one.id for one in related(material.asked, "ＴＨＩＳ?")] == [nearer, near]
    assert [one.id for one in related(material.asked, "this", most=1)] == [nearer]
    assert related(material.asked, "never asked") == related(material.asked, "this", public=True) == []
