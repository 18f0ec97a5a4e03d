"""The route `retrieve`: builds the library of a run, opens it again, and refuses lessons with nothing to look up."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import tiny_embedder, tiny_folder

from shuyuan.base.errors import Fixable
from shuyuan.base.records import GREEDY, Answer, Conversation, Decoding, Lessons, Passage, Run, ask
from shuyuan.base.workspace import Choices, Workspace, finished
from shuyuan.prepare.adding import add
from shuyuan.recall import keeping
from shuyuan.recall.fuse import Fuse
from shuyuan.recall.grounded import GroundedAssistant
from shuyuan.recall.state import VERSION, state_of, write_state
from shuyuan.teach.command import command
from shuyuan.teach.removing import remove
from shuyuan.teach.retrieve import Retrieve
from shuyuan.teach.teaching import open_assistant, teach

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


@pytest.fixture
def school(tmp_path: Path, embedder: str) -> Workspace:
    """A workspace whose assistant `retrieve` looks things up in the folder `books`."""
    books, model = tmp_path / "books", tiny_folder(tmp_path / "model")
    for source, text in TEXTS.items():
        books.mkdir(exist_ok=True)
        (books / source).write_text(text, encoding="utf-8")
    workspace = Workspace.create(tmp_path / "school", Choices(model=str(model), embedder=embedder))
    add(workspace, [books])
    teach(workspace, "retrieve", {"threshold": -1.0})
    return workspace


def library_of(workspace: Workspace) -> Path:
    return workspace.run("retrieve").folder / "library"


@pytest.mark.parametrize("harm", ["an older version", "cut off", "an index that is gone"])
def test_a_library_that_cannot_be_opened_is_built_by_the_command_that_the_error_names(
    school: Workspace, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = library_of(school)
    tuned = replace(state_of(folder), fuse=Fuse(depth=7).model_dump())
    before = tuned.documents
    harmed = {"an older version": {"version": VERSION - 1}, "cut off": {"documents": {}, "unfinished": [*before]}}
    write_state(folder, replace(tuned, **harmed.get(harm, {})))
    if harm == "an index that is gone":
        shutil.rmtree(folder / "index-lance")
    with pytest.raises(Fixable) as error:
        open_assistant(school, "retrieve")
    assert error.value.hint == "build it again: shuyuan teach retrieve --threshold -1.0"
    capsys.readouterr()
    taught = teach(school, "retrieve", {"threshold": -1.0})
    assert "taught already" not in capsys.readouterr().err
    assert isinstance(taught, GroundedAssistant)
    assert taught.library.search("clay dries", 1)[0].passage.text == TEXTS["c.md"]
    assert state_of(folder).documents == before
    assert taught.library.fuse.depth == 7, "what was tuned stays"
    teach(school, "retrieve", {"threshold": -1.0})
    assert "taught already" in capsys.readouterr().err


def test_the_error_names_the_command_of_the_very_assistant(school: Workspace) -> None:
    teach(school, "prompt", {"instruction": "用一句话回答。 Be brief."}, name="short")
    teach(school, "retrieve", {"depth": 9}, on="short", name="both")
    shutil.rmtree(school.run("both").folder / "library" / "index-lance")
    with pytest.raises(Fixable, match=r"--depth 9 --on short --name both$"):
        open_assistant(school, "both")
    shutil.rmtree(school.run("both").folder / "library")
    with pytest.raises(Fixable, match=r"--depth 9 --on short --name both$"):
        open_assistant(school, "both")
    done = {**finished(school.run("short")), "name": "short"}
    said = "shuyuan teach prompt --instruction '用一句话回答。 Be brief.' --name short"
    assert command(done) == said


def test_taught_again_it_does_only_what_changed(
    school: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, books = library_of(school), tmp_path / "books"
    keeping.move(folder, "sqlite")
    write_state(folder, replace(state_of(folder), fuse=Fuse(depth=7).model_dump()))
    (books / "c.md").write_text("Clay dries for eight days.", encoding="utf-8")
    (books / "a.md").unlink()
    add(school, [books])
    with pytest.raises(Fixable, match="--again"):
        teach(school, "retrieve", {"threshold": -1.0})
    assert open_assistant(school, "retrieve").answer([ask("How long does clay dry?")]), "refused, it stays as it was"
    capsys.readouterr()
    taught = teach(school, "retrieve", {"threshold": -1.0}, again=True)
    assert "2 passages of 2 documents, 1 new or changed" in capsys.readouterr().err
    assert isinstance(taught, GroundedAssistant)
    hits = taught.library.search("how long does clay dry?", 9)
    assert {hit.passage.text for hit in hits} == {"Clay dries for eight days.", TEXTS["乙.md"]}
    assert (state_of(folder).store, taught.library.fuse.depth) == ("sqlite", 7), "moved and tuned, it stays so"
    assert not [path for path in folder.rglob("*") if path.is_file() and b"1280 degrees" in path.read_bytes()]


def test_after_a_removal_the_library_is_calibrated_anew(school: Workspace) -> None:
    remove(school, ["books/a.md"])
    taught = teach(school, "retrieve", {"threshold": -1.0}, again=True)
    fresh = teach(school, "retrieve", {"threshold": -1.0}, name="fresh")
    assert isinstance(taught, GroundedAssistant)
    assert isinstance(fresh, GroundedAssistant)
    assert taught.library.state == fresh.library.state


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
