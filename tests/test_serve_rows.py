"""A table of many rows of training data through the server: every row is there once, in order, page by page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from conftest import REPOSITORY
from serving import serving

from shuyuan.base.workspace import Workspace

sys.path.append(str(REPOSITORY / "bench"))

from rows import HOUSE, question_of, table_of

ROWS = 2500


def test_a_long_table_is_uploaded_listed_and_shown_page_by_page(tmp_path: Path) -> None:
    Workspace.create(tmp_path / "many")
    with serving(tmp_path) as served:
        status, job = served.upload(f"{HOUSE}/documents?kind=questions", {"题 库.csv": table_of(ROWS)})
        assert (status, served.job(job["id"], "many")["status"]) == (202, "done")

        def rows(query: str) -> Any:
            status, body, _ = served.send("GET", f"{HOUSE}/examples?{query}")
            assert (status, body["total"]) == (200, ROWS)
            return body["data"]

        shown = [row for skip in range(0, ROWS, 1000) for row in rows(f"limit=1000&skip={skip}")]
        asked = [row["messages"][0]["content"] for row in shown]
        assert asked == [question_of(number) for number in range(ROWS)]
        assert len(set(asked)) == ROWS
        assert shown[2]["messages"][1]["content"] == 'Shelf 2, "the old one".'
        assert [row["id"] for row in rows("limit=7&skip=1993")] == [row["id"] for row in shown[1993:2000]]
        assert rows(f"skip={ROWS}") == rows(f"skip={1 << 40}") == []
        assert len(rows("")) == 100, "a page that nobody measured is a short one"
