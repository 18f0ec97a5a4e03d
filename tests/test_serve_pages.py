"""Pages as pictures, over a real connection: only of documents that are there, as they were read."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from PIL import Image as Pictures
from serving import Served, serving, tiny_school
from test_read_picture import pdf

from shuyuan.prepare.adding import add
from shuyuan.serve import pages

PAGE = "/api/workspaces/school/page"
SOURCE = f"source={quote('扫描/a b.pdf')}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A workspace with a PDF of two pages beside the Markdown page; another without it."""
    at = tmp_path_factory.mktemp("pages")
    school = tiny_school(at)
    tiny_school(at, "other")
    (at / "扫描").mkdir()
    pdf(at / "扫描" / "a b.pdf", [(500, "The library opens at nine.")], 2)
    add(school, [at / "扫描", at / "扫描" / "a b.pdf"])
    with serving(at / "house") as running:
        yield running


def test_a_page_is_a_picture_and_is_drawn_once(served: Served) -> None:
    status, raw, response = served.send("GET", f"{PAGE}?{SOURCE}&page=2")
    assert (status, response.getheader("Content-Type")) == (200, "image/png")
    assert "default-src 'none'" in (response.getheader("Content-Security-Policy") or "")
    assert Pictures.open(io.BytesIO(raw)).size == (1067, 1600)
    served.house.pictures.close()
    served.house.pictures._reader._started = None  # type: ignore[method-assign, assignment]
    try:
        assert served.send("GET", f"{PAGE}?{SOURCE}&page=2")[1] == raw
    finally:
        del served.house.pictures._reader._started


def test_what_is_not_there_is_refused(served: Served) -> None:
    for query, status in (
        (f"{SOURCE}&page=3", 400),
        (f"{SOURCE}&page=0", 422),
        (f"source={quote('手册/书院.md')}", 400),
        ("source=none.pdf", 404),
        (f"source={quote('扫描/../model/config.json')}", 404),
        ("source=/etc/passwd", 404),
        ("", 422),
    ):
        assert served.send("GET", f"{PAGE}?{query}")[0] == status, query
    assert served.send("GET", f"/api/workspaces/other/page?{SOURCE}")[0] == 404


def test_memory_is_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "KEPT_BYTES", 1)
    for page in (1, 2, 1):
        assert served.send("GET", f"{PAGE}?{SOURCE}&page={page}")[0] == 200
    assert len(served.house.pictures._kept) == 1


def test_a_file_that_changed_or_went_is_not_drawn(served: Served) -> None:
    file = served.house.root.parent / "扫描" / "a b.pdf"
    before = file.stat()
    os.utime(file, (1, 1))
    status, told, _ = served.send("GET", f"{PAGE}?{SOURCE}")
    assert (status, told["error"]["hint"]) == (400, "add it again")
    os.utime(file, (before.st_atime, before.st_mtime))
    assert served.send("DELETE", f"/api/workspaces/school/documents?{SOURCE}")[0] == 204
    assert served.send("GET", f"{PAGE}?{SOURCE}")[0] == 404, "although it was drawn before"
