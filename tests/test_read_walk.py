"""Which files a folder offers."""

from __future__ import annotations

from pathlib import Path

import pytest

from shuyuan.base.errors import Fixable
from shuyuan.base.workspace import Workspace
from shuyuan.read.reading import walk


def make(root: Path, *names: str) -> None:
    """Small files with their folders."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")


def found(root: Path, *exclude: str) -> list[str]:
    """The names `walk` finds, relative to the root."""
    return [file.relative_to(root).as_posix() for file in walk(root, exclude).files]


def test_folders_are_walked_recursively_and_others_are_counted(tmp_path: Path) -> None:
    make(
        tmp_path, "b.md", "a.TXT", "深/层/c.html", "p.mp4", "q.mp4", "r.png", "Makefile", ".git/config.md", ".hidden.md"
    )
    walked = walk(tmp_path)
    assert found(tmp_path) == ["a.TXT", "b.md", "深/层/c.html"]
    assert walked.skipped == {"unknown kind .mp4": 2, "pictures (read with --pictures)": 1, "no suffix": 1, "hidden": 2}


def test_pictures_are_taken_only_when_they_are_asked_for(tmp_path: Path) -> None:
    make(tmp_path, "scan.PNG", "a.md")
    assert found(tmp_path) == ["a.md"]
    assert [file.name for file in walk(tmp_path, pictures=True).files] == ["a.md", "scan.PNG"]


def test_excludes_are_gitignore_patterns(tmp_path: Path) -> None:
    make(tmp_path, "a.md", "drafts/b.md", "sub/drafts/c.md", "sub/keep.md", "sub/drop.md")
    assert found(tmp_path, "drafts/", "sub/*.md", "!keep.md") == ["a.md", "sub/keep.md"]
    assert found(tmp_path, "/drafts") == ["a.md", "sub/drafts/c.md", "sub/drop.md", "sub/keep.md"]


def test_ignore_files_hold_for_their_folder_and_yield_to_nearer_ones_and_flags(tmp_path: Path) -> None:
    make(tmp_path, "a.md", "b.md", "sub/a.md", "sub/b.md")
    (tmp_path / ".shuyuanignore").write_text("a.md\n")
    assert found(tmp_path) == ["b.md", "sub/b.md"]
    (tmp_path / "sub" / ".shuyuanignore").write_text("!a.md\nb.md\n")
    assert found(tmp_path) == ["b.md", "sub/a.md"]
    assert found(tmp_path, "!b.md") == ["b.md", "sub/a.md", "sub/b.md"]


def test_what_links_reach_twice_is_visited_once_by_its_real_name(tmp_path: Path) -> None:
    make(tmp_path, "real/a.md", "other/b.md")
    (tmp_path / "a-link").symlink_to(tmp_path / "real")
    (tmp_path / "c.md").symlink_to(tmp_path / "other" / "b.md")
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    (tmp_path / "gone.md").symlink_to(tmp_path / "nowhere")
    walked = walk(tmp_path)
    assert found(tmp_path) == ["other/b.md", "real/a.md"]
    assert walked.skipped == {"reached twice by links": 3, "broken link": 1}


def test_a_workspace_inside_is_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "a.md")
    Workspace.create(tmp_path / "ws")
    make(tmp_path, "ws/runs/card.md")
    assert found(tmp_path) == ["a.md"]


def test_a_single_file_is_taken_whatever_its_suffix_and_a_missing_one_refused(tmp_path: Path) -> None:
    make(tmp_path, "README")
    assert walk(tmp_path / "README").files == (tmp_path / "README",)
    with pytest.raises(Fixable, match="there is no file"):
        walk(tmp_path / "REAMDE")
