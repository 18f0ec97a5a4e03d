"""A library as somebody sees it: what is of a group is found and cited only for them; what is pinned always is."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_recall import Extracts, HashedTerms
from test_recall_answer import Says

from shuyuan.base.marks import FOR_ALL, WHOLE, View
from shuyuan.base.material import File
from shuyuan.base.records import Document, ask
from shuyuan.base.shelf import choices
from shuyuan.base.workspace import Workspace
from shuyuan.prepare.chunk import Chunk
from shuyuan.recall.ground import Ground, about_tokens
from shuyuan.recall.grounded import GroundedAssistant, seen_by
from shuyuan.recall.searching import Library

TEXTS = {
    "book/kiln.md": "The kiln is fired at 1280 degrees. The kiln cools for two days.",
    "book/釉.md": "釉料要过筛三遍。釉层厚一毫米。",
    "staff/pay.md": "The kiln master is paid 9000 a month 🎉. 窑工的月薪是九千。",
    "staff/menu.txt": "The kiln crew eats noodles at noon. 午饭是面条。",
    "rules.md": "Nobody smokes in the house. 屋内禁止吸烟。",
}
HR = View(frozenset({"hr"}))
QUESTION = "How much is the kiln master paid? 窑工的月薪"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("QDRANT_URL", ":memory:")
    made = Workspace.create(tmp_path / "school")
    for source, text in TEXTS.items():
        document = Document(f"d{len(source)}-{source}", source, source, text, "0", "en")
        made.material.put_document(File(source, "0", 1, 0.0), document, Chunk().chunk(document))
    return made


def built(workspace: Workspace, store: str = "memory") -> Library:
    folder, passages = workspace.folder / "library", workspace.material.passages()
    cache = workspace.folder / "cache"
    return Library.build(folder, passages, HashedTerms(), cache, store=store, material=workspace.run("x").material)


def sources(library: Library, k: int = 10, text: str = QUESTION) -> list[str]:
    return [hit.passage.source for hit in library.search(text, k)]


@pytest.mark.parametrize("store", choices("store"))
def test_only_the_group_finds_its_documents(workspace: Workspace, store: str) -> None:
    library = built(workspace, store)
    assert sources(library)[0] == "staff/pay.md"
    workspace.mark("staff", group="hr")  # and nothing is built again
    opened = Library.open(library.folder, HashedTerms(), material=workspace.run("x").material)
    for one in (library, opened):
        assert sorted(sources(one)) == ["book/kiln.md", "book/釉.md", "rules.md"]
        assert sources(one.seen_by(View(frozenset({"others"})))) == sources(one)
        assert sources(one.seen_by(HR))[0] == sources(one.seen_by(WHOLE))[0] == "staff/pay.md"
        assert sorted(sources(one.seen_by(HR))) == sorted(TEXTS)
        (of,) = one.rankings([QUESTION], 10)
        found = {name for name, _ in [*of.dense, *of.words]}
        assert found <= {p.id for p in workspace.material.passages() if not p.source.startswith("staff/")}
    workspace.mark("staff", group="")
    assert sources(library)[0] == "staff/pay.md"


@pytest.mark.parametrize("store", choices("store"))
def test_wanted_documents_fill_the_list(workspace: Workspace, store: str) -> None:
    library = built(workspace, store)
    workspace.mark("rules.md", tags=("house", "规定"))
    workspace.mark("book", tags=("house",))
    assert sources(library.seen_by(View(tags=("house", "规定"))), 1) == ["rules.md"]
    assert sorted(sources(library.seen_by(View(tags=("house",))), 3)) == ["book/kiln.md", "book/釉.md", "rules.md"]
    assert sources(library.seen_by(View(folder="staff", kind="txt"))) == ["staff/menu.txt"]
    assert sources(library.seen_by(View(tags=("never",)))) == []


@pytest.mark.parametrize("store", choices("store"))
def test_a_pinned_document_is_always_found(workspace: Workspace, store: str) -> None:
    library = built(workspace, store)
    assert "rules.md" not in sources(library, 2)
    workspace.mark("rules.md", pinned=True)
    assert sources(library, 2) == ["staff/pay.md", "rules.md"]
    assert [hit.pinned for hit in library.search(QUESTION, 10)].count(True) == 1
    assert sources(library, 1) == ["rules.md"]
    workspace.mark("staff", pinned=True, group="hr")
    assert "staff/pay.md" not in sources(library)
    assert sorted(sources(library.seen_by(HR), 3)) == ["rules.md", "staff/menu.txt", "staff/pay.md"]
    assert sources(library.seen_by(View(None, folder="book")), 10).count("rules.md") == 0, "a filter is stronger"


def test_the_model_reads_only_what_the_one_who_asks_may_see(workspace: Workspace) -> None:
    workspace.mark("staff", group="hr")
    inner = Says(*["The kiln master is paid 9000 a month."] * 9)
    everyone = GroundedAssistant("retrieve", inner, built(workspace), Ground(threshold=-1.0))
    (refused,) = everyone.answer([ask(QUESTION)])
    assert refused.refused
    assert refused.citations == ()
    assert not any("staff" in prompt or "9000" in prompt for prompt in inner.asked), "and no prompt held it"
    hidden = {p.id for p in workspace.material.passages() if p.source.startswith("staff/")}
    assert not hidden & set(refused.retrieved)
    (answer,) = seen_by(everyone, HR).answer([ask(QUESTION)])
    assert [citation.source for citation in answer.citations] == ["staff/pay.md"]
    assert "9000" in inner.asked[-1]
    on_top = GroundedAssistant("twice", everyone, built(workspace), Ground(threshold=-1.0)).seen_by(HR)
    assert isinstance(on_top._inner, GroundedAssistant)
    assert on_top._inner.library.view == HR
    assert seen_by(inner, HR) is inner


@pytest.mark.parametrize("budget", [100, 1400])
def test_a_pinned_document_is_read_with_every_question(workspace: Workspace, budget: int) -> None:
    inner = Extracts()
    ground = Ground(threshold=1.9, passages=3, prompt_tokens=budget)  # nothing is ever near enough
    assistant = GroundedAssistant("retrieve", inner, built(workspace), ground)
    question = "May I smoke in the kiln house? 🎉"
    assert assistant.answer([ask(question)])[0].refused
    workspace.mark("rules.md", pinned=True)
    (answer,) = assistant.answer([ask(question)])
    assert [citation.source for citation in answer.citations] == ["rules.md"]
    assert not answer.refused
    (far,) = assistant.answer([ask("Wie hoch ist der Eiffelturm?")])
    assert far.refused, "what it says still needs support"
    workspace.mark("rules.md", group="hr")
    assert assistant.answer([ask(question)])[0].refused
    assert not assistant.seen_by(HR).answer([ask(question)])[0].refused


def test_pinned_passages_keep_within_the_budget(workspace: Workspace) -> None:
    workspace.mark("book", pinned=True)
    workspace.mark("staff", pinned=True)
    inner = Says(*["No."] * 9)
    assistant = GroundedAssistant("retrieve", inner, built(workspace), Ground(threshold=-1.0, prompt_tokens=100))
    assistant.answer([ask("Who smokes? 谁吸烟？")])
    assert sum(about_tokens(prompt) for prompt in inner.asked) < 100 + 40 * len(inner.asked) + 60
    assert not any("Nobody smokes" in prompt for prompt in inner.asked), "pinned ones come first"
    assert assistant.library.view == FOR_ALL
