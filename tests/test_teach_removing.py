"""A document that is removed leaves nothing: every byte of the workspace is looked at."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from pathlib import Path

import pytest
from tiny import tiny_embedder, tiny_folder

from shuyuan.base.errors import Fixable
from shuyuan.base.files import locked
from shuyuan.base.records import ask
from shuyuan.base.shelf import choices
from shuyuan.base.workspace import UPLOADS, Choices, Workspace
from shuyuan.cli.main import main
from shuyuan.examine.exam import exam
from shuyuan.load.embedder import open_embedder
from shuyuan.prepare.adding import add
from shuyuan.recall import keeping
from shuyuan.recall.embedding import embed_passages
from shuyuan.recall.searching import Library
from shuyuan.recall.state import state_of
from shuyuan.teach.removing import quotes, remove
from shuyuan.teach.teaching import learned, open_assistant, stale, teach

SECRET = "配方 🎉"
GONE = (
    "# Quetzalcoatl 釉\n\n窑神釉的配方是孔雀石三钱。 The Quetzalcoatl glaze holds malachite.\n\n"
    "# Ｘｉｕｈ\n\n第二段说蟾蜍砂。 Xiuhtecuhtli is fired twice 🎉🎉.\n"
)
KEPT = "# Kiln\n\nThe kiln is fired at 1280 degrees.\n\n# 晾干\n\n泥坯晾干九天。 Clay dries for nine days.\n"
WORDS = ("Quetzalcoatl", "quetzalcoatl", "孔雀石", "蟾蜍", "xiuhtecuhtli", "Xiuhtecuhtli", "malachite", "窑神釉")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two documents, one of them uploaded, a weights route, libraries in three stores and an exam."""
    at = tmp_path_factory.mktemp("removing")
    model, embedder = tiny_folder(at / "model"), tiny_embedder(at / "embedder")
    workspace = Workspace.create(at / "school", Choices(model=str(model), embedder=str(embedder)))
    uploads = workspace.folder / UPLOADS
    uploads.mkdir()
    (uploads / f"{SECRET}.md").write_text(GONE.replace("malachite", "malachite and toads"), encoding="utf-8")
    (uploads / "kiln.md").write_text(KEPT, encoding="utf-8")
    rows = [
        {"question": "How hot is the kiln?", "answer": "1280", "source": f"{UPLOADS}/kiln.md", "use": "exam"},
        {"question": "泥坯晾几天？", "answer": "九天", "source": f"{UPLOADS}/kiln.md", "use": "exam"},
        {"question": "Who built the bridge?", "answer": None, "use": "exam"},
    ]
    (at / "quiz.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    add(workspace, [uploads], questions=[at / "quiz.jsonl"])
    teach(workspace, "retrieve", {"threshold": -1.0})
    (uploads / f"{SECRET}.md").write_text(GONE, encoding="utf-8")  # an earlier state of it must go as well
    add(workspace, [uploads])
    teach(workspace, "continue", {"block": 16, "replay": 0.0, "epochs": 1})
    for store in ("lance", "sqlite", "memory"):
        teach(workspace, "retrieve", {"threshold": -1.0, "store": store}, name=store)
    teach(workspace, "retrieve", {"threshold": -1.0}, again=True)
    open_assistant(workspace, "retrieve").answer([ask("Quetzalcoatl?")])
    exam(workspace, ["retrieve"], questions=3, general=1)
    workspace.close()
    return workspace.folder


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(made, tmp_path / "school")
    roots = tmp_path / "school" / "sources.json"  # says where folders lie
    roots.write_text(roots.read_text(encoding="utf-8").replace(str(made), str(tmp_path / "school")), encoding="utf-8")
    return Workspace.open(tmp_path / "school")


def traces(workspace: Workspace) -> list[str]:
    """Which files of the workspace hold words of the document, as any encoding writes them, or one of its vectors."""
    marks = [word.encode(coding) for word in WORDS for coding in ("utf-8", "utf-16-le")]
    marks += [json.dumps(word)[1:-1].encode() for word in WORDS]
    marks += VECTORS
    return sorted(
        str(path.relative_to(workspace.folder))
        for path in workspace.folder.rglob("*")
        if path.is_file() and path.suffix != ".safetensors" and any(mark in path.read_bytes() for mark in marks)
    )


VECTORS: list[bytes] = []


def vectors_of(workspace: Workspace) -> list[bytes]:
    """Pieces of the document's vectors, as the cache and as a library keep them; a page may end between two pieces."""
    texts = [p.searchable for p in workspace.material.passages() if p.source == source()]
    embedder = open_embedder(workspace.choices.embedder)
    index = open_assistant(workspace, "memory").library._index  # type: ignore[attr-defined]
    found = [
        row for passages, rows in index.export() for p, row in zip(passages, rows, strict=True) if p.source == source()
    ]
    kept = [*embed_passages(embedder, texts, workspace.folder / "cache"), *found]
    assert len(kept) == 2 * len(texts) > 0
    return [row.astype("<f4")[at : at + 8].tobytes() for row in kept for at in range(0, len(row) - 8, 8)]


def source() -> str:
    return f"{UPLOADS}/{SECRET}.md"


def test_no_byte_of_a_removed_document_is_left(workspace: Workspace) -> None:
    VECTORS[:] = vectors_of(workspace)
    before = traces(workspace)
    for expected in ("material.sqlite", "cache/embeddings.sqlite", source(), "exams/exam/answers/retrieve.jsonl"):
        assert expected in before
    assert any("index-lance" in name for name in before)
    assert any("index-sqlite" in name for name in before)
    assert any("index-memory" in name for name in before)
    with pytest.raises(Fixable, match="exam quotes what is to be removed"):
        remove(workspace, [source()])
    assert traces(workspace) == before, "refused, it changes nothing"
    removed = remove(workspace, [source()], exams=True)
    assert traces(workspace) == []
    assert removed.sources == (source(),)
    assert removed.exams == ("exam",)
    assert set(removed.stale) == {"continue", "lance", "sqlite", "memory", "retrieve"}
    assert all(stale(workspace, name) for name in removed.stale)
    for name in ("lance", "sqlite", "memory", "retrieve"):
        assistant = open_assistant(workspace, name)
        hits = assistant.library.search("Quetzalcoatl 孔雀石 nine days", 10)  # type: ignore[attr-defined]
        assert {hit.passage.source for hit in hits} == {f"{UPLOADS}/kiln.md"}
        assert not state_of(workspace.run(name).folder / "library").unfinished
    again = teach(workspace, "retrieve", {"threshold": -1.0}, again=True)
    assert again.answer([ask("How hot is the kiln?")])[0].retrieved
    assert add(workspace, [workspace.folder / UPLOADS]).documents == 1


def test_weights_that_learned_it_are_known(workspace: Workspace) -> None:
    assert learned(workspace, "continue") == {source(), f"{UPLOADS}/kiln.md"}
    assert learned(workspace, "retrieve") == learned(workspace, "bare") == frozenset()
    (workspace.run("continue").folder / "documents.json").unlink()
    assert source() in learned(workspace, "continue"), "of what an older version taught, every document is assumed"


@pytest.mark.parametrize("store", choices("store"))
def test_a_removal_that_is_killed_goes_on(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_recall import HashedTerms, passages

    monkeypatch.setenv("QDRANT_URL", ":memory:")
    folder, there = tmp_path / "library", passages()
    Library.build(folder, there, HashedTerms(), tmp_path / "cache", store=store)
    name, embedder = there[0].document_id, HashedTerms()

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    index = type(Library.open(folder, embedder)._index)
    for step in ("delete_document", "purge"):
        with monkeypatch.context() as now:
            now.setattr(index, step, cut)
            with pytest.raises(KeyboardInterrupt):
                keeping.forget(folder, [name])
        with pytest.raises(Fixable, match="no finished library"):  # never half of it, as if it were whole
            Library.open(folder, embedder)
    assert keeping.forget(folder, [name, "never there"]) == 1
    opened = Library.open(folder, embedder)
    assert opened.count() == opened.state.passages == len([p for p in there if p.document_id != name])
    assert keeping.forget(folder, [name]) == 0
    assert Library.build(folder, there, embedder, tmp_path / "cache").count() == len(there)


def test_what_cannot_be_removed_is_said(workspace: Workspace) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inner/甲.md", "# 甲\n\n档案里的内容足够长，可以成为一段。\n")
    (workspace.folder / UPLOADS / "all.zip").write_bytes(packed.getvalue())
    add(workspace, [workspace.folder / UPLOADS])
    inner = next(name for name in workspace.material.files() if name.endswith("甲.md"))
    with pytest.raises(Fixable, match=r"lies inside uploads/all\.zip"):
        remove(workspace, [inner])
    with pytest.raises(Fixable, match=r"there is no document 'uploads/kilm\.md'"):
        remove(workspace, ["uploads/kilm.md"])
    with (
        locked(workspace.folder / "runs" / ".lance.lock", "teaching lance"),
        pytest.raises(Fixable, match="teaching lance"),
    ):
        remove(workspace, ["uploads/all.zip"])
    assert set(remove(workspace, ["uploads/all.zip"]).sources) == {"uploads/all.zip", inner}
    assert not (workspace.folder / UPLOADS / "all.zip").exists()
    assert workspace.material.document(inner) is None


def test_an_exam_is_known_to_quote_a_document(workspace: Workspace) -> None:
    folder = workspace.exam("exam")
    assert quotes(folder, [source()])
    assert quotes(folder, [f"{UPLOADS}/kiln.md"])
    assert not quotes(folder, [])
    assert not quotes(folder, ["kiln.md", f"{UPLOADS}/kiln.m", f"x{UPLOADS}/kiln.md", f"{UPLOADS}/kiln.md.txt"])


def test_the_commands(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["-w", str(workspace.folder)]
    assert main(["mark", source(), "--pin", "--tag", "旧", "secret", *at]) == 0
    assert "pinned  secret 旧" in capsys.readouterr().out
    assert main(["mark", "later/", "--group", "hr", *at]) == 0
    assert "nothing lies in later/ yet" in capsys.readouterr().err
    assert main(["list", "--documents", "--find", "配方", "--json", *at]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert (listed["source"], listed["pinned"], listed["tags"], listed["group"]) == (
        source(),
        True,
        ["secret", "旧"],
        "",
    )
    assert main(["ask", "How hot?", "--with", "retrieve", "--tag", "secret", "--json", *at]) == 0
    found = json.loads(capsys.readouterr().out)["retrieved"]
    wanted = {p.id for p in workspace.material.passages() if p.source == source()}
    assert set(found) == wanted
    assert main(["ask", "How hot?", "--with", "continue", "--tag", "secret", *at]) == 1
    assert "has no library to choose documents from" in capsys.readouterr().err
    assert main(["mark", "--pin", *at]) == 1
    assert main(["mark", source(), "--clear", *at]) == 0
    assert json.loads(json.dumps(sorted(workspace.material.marks()))) == ["later"]
    capsys.readouterr()
    assert main(["remove", source(), "--exams", *at]) == 0
    shown = capsys.readouterr()
    assert "removed 1 documents with 1 passages" in shown.out
    assert "removed exam exam" in shown.out
    assert "continue may be out of date" in shown.err
