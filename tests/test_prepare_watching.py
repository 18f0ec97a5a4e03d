"""A watched folder: what changed is read again, what moved is only renamed, what is half written waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shuyuan.base.workspace import Workspace
from shuyuan.prepare.watching import watch
from shuyuan.read.apart import Reader


def sources(workspace: Workspace) -> list[str]:
    """The sources of all documents."""
    return [document.source for document in workspace.material.documents()]


def test_each_change_is_one_round_that_reads_only_what_changed(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("a", "b", "c"):
        (docs / f"{name}.md").write_text(f"# {name}\n\n第一版 {name}")
    steps: list[Callable[[], object]] = []
    rounds = watch(workspace, [docs], rest=lambda _: steps.pop(0)() if steps else None)
    first = next(rounds)
    assert (first.read, first.unchanged) == (3, 0)
    steps += [lambda: (docs / "d.md").write_text("new"), lambda: (docs / "d.md").write_text("new and whole")]
    added = next(rounds)
    assert (added.read, added.unchanged, added.forgotten) == (1, 3, 0)
    assert workspace.material.document("docs/d.md").text == "new and whole"  # type: ignore[union-attr]
    steps.append(lambda: (docs / "a.md").write_text("# a\n\n第二版"))
    assert next(rounds).read == 1
    steps.append((docs / "b.md").unlink)
    assert next(rounds).forgotten == 1

    def move() -> None:
        monkeypatch.setattr(Reader, "read", lambda *_: pytest.fail("a moved file was read again"))
        (docs / "sub").mkdir()
        (docs / "c.md").rename(docs / "sub" / "e.md")

    steps.append(move)
    moved = next(rounds)
    assert (moved.read, moved.unchanged, moved.forgotten) == (1, 2, 1)
    assert sources(workspace) == ["docs/a.md", "docs/d.md", "docs/sub/e.md"]
    there = workspace.material.document("docs/sub/e.md")
    assert there
    assert there.title == "c"
    assert [p.text for p in workspace.material.passages() if p.document_id == there.id] == ["# c\n\n第一版 c"]
    rounds.close()


def test_an_emptied_folder_is_forgotten_and_a_missing_one_is_waited_for(workspace: Workspace, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("one")
    steps: list[Callable[[], object]] = []
    rounds = watch(workspace, [docs], rest=lambda _: steps.pop(0)() if steps else None)
    next(rounds)
    steps.append((docs / "a.md").unlink)
    assert next(rounds).forgotten == 1
    assert sources(workspace) == []
    steps += [docs.rmdir, lambda: None, lambda: None, docs.mkdir, lambda: (docs / "b.md").write_text("back")]
    assert next(rounds).read == 1
    assert sources(workspace) == ["docs/b.md"]
