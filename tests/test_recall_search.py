"""Libraries that move between stores, search that is tuned, reranked and asked in several ways."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_recall import HashedTerms, passages

from shuyuan.base.errors import Fixable
from shuyuan.base.shelf import choices, choose
from shuyuan.recall import searching
from shuyuan.recall.searching import Library, state_of

QUERIES = ["default rank of LoRA", "学习率是多少", "near-duplicates (leaks)?"]


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_URL", ":memory:")


def built(folder: Path, store: str) -> Library:
    return Library.build(folder, passages(), HashedTerms(), folder.parent / "cache", store=store)


# moving


@pytest.mark.parametrize("store", choices("store"))
@pytest.mark.parametrize("to", choices("store"))
def test_moved_library_finds_the_same(tmp_path: Path, store: str, to: str) -> None:
    folder = tmp_path / "library"
    before = built(folder, store)
    found = [[(hit.passage, hit.cosine) for hit in before.search(query, 2)] for query in QUERIES]
    assert Library.move(folder, to) == (store != to)
    after = Library.open(folder, HashedTerms())
    assert after.state.store == to
    assert [[(hit.passage, hit.cosine) for hit in after.search(query, 2)] for query in QUERIES] == found
    assert [path.name for path in folder.glob("index*")] == [f"index-{to}"]
    again = HashedTerms()
    Library.build(folder, passages(), again, tmp_path / "cache")  # no store named: it stays where it is
    assert state_of(folder).store == to
    assert again.embedded == 0


def test_a_move_that_is_cut_leaves_one_whole_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "library"
    built(folder, "lance")

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as now:  # while the copy is compared
        now.setattr(searching, "content_hash", cut)
        with pytest.raises(KeyboardInterrupt):
            Library.move(folder, "sqlite")
    assert Library.open(folder, HashedTerms()).state.store == "lance"
    with monkeypatch.context() as now:  # after the library turned to the copy, before the old one is gone
        now.setattr("shuyuan.store.lance.LanceIndex.remove", cut)
        with pytest.raises(KeyboardInterrupt):
            Library.move(folder, "sqlite")
    assert Library.open(folder, HashedTerms()).count() == 4
    assert state_of(folder).store == "sqlite"
    Library.build(folder, passages(), HashedTerms(), tmp_path / "cache")
    assert [path.name for path in folder.glob("index*")] == ["index-sqlite"]


def test_a_copy_that_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "library"
    built(folder, "memory")
    index = choose("store", "sqlite")().open(tmp_path / "other", 512)
    upsert = type(index).upsert
    monkeypatch.setattr(type(index), "upsert", lambda self, p, v: upsert(self, p[:-1], v[:-1]))
    with pytest.raises(Fixable, match="nothing was changed"):
        Library.move(folder, "sqlite")
    assert Library.open(folder, HashedTerms()).count() == 4
    assert [path.name for path in folder.glob("index*")] == ["index-memory"]


def test_changed_store_is_built_anew_and_the_old_one_goes(tmp_path: Path) -> None:
    folder = tmp_path / "library"
    built(folder, "qdrant")
    assert built(folder, "sqlite").count() == 4
    assert [path.name for path in folder.glob("index*")] == ["index-sqlite"]


def test_only_a_finished_library_moves(tmp_path: Path) -> None:
    with pytest.raises(Fixable, match="no finished library"):
        Library.move(tmp_path / "library", "sqlite")
