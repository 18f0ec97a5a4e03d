"""Pages of documents as pictures, so that a passage is shown where it stands on the page."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from shuyuan.base.errors import Fixable
from shuyuan.base.settings import Settings
from shuyuan.base.workspace import Workspace
from shuyuan.prepare.sources import Roots
from shuyuan.read.apart import Reader
from shuyuan.read.pdf import MOST_PAGES
from shuyuan.serve.access import Door, Visitor
from shuyuan.serve.refusals import Refused

router = APIRouter(prefix="/api/workspaces/{workspace}", tags=["documents"])
ReaderOf = Annotated[Visitor, Depends(Door("read"))]
SECONDS = 60.0  # a page may take, and the next one waits
KEPT_BYTES = 64_000_000  # of pictures, in memory only: nothing of a removed document may remain on the disk


class Pages(Settings):
    """Endpoint `/api/workspaces/{workspace}/page`."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class Pictures:
    """Pages that were drawn, those asked for last; one is drawn at a time, in a confined process."""

    def __init__(self) -> None:
        self._reader, self._drawing, self._keeping = Reader(SECONDS), threading.Lock(), threading.Lock()
        self._kept: OrderedDict[tuple[Path, str, int], bytes] = OrderedDict()

    def picture(self, file: Path, sha256: str, page: int) -> bytes:
        """A page as PNG. `Refused` 429 when others are drawn for too long."""
        key = (file, sha256, page)
        with self._keeping:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        if not self._drawing.acquire(timeout=SECONDS):
            raise Refused(429, "other pages are being drawn", code="rate_limit_exceeded", wait=5)
        try:
            drawn = self._reader.picture(file, page)
        finally:
            self._drawing.release()
        with self._keeping:
            self._kept[key] = drawn
            while sum(map(len, self._kept.values())) > KEPT_BYTES and len(self._kept) > 1:
                self._kept.popitem(last=False)
        return drawn

    def close(self) -> None:
        """End the process that draws."""
        self._reader.close()


@router.get("/page", response_class=Response, responses={200: {"content": {"image/png": {}}}})
def page_picture(
    visitor: ReaderOf,
    workspace: str,
    source: Annotated[str, Query(min_length=1, max_length=4000)],
    page: Annotated[int, Query(ge=1, le=MOST_PAGES)] = 1,
) -> Response:
    """A page of a PDF or of a picture, as PNG. The boxes of passages are in thousandths of its width and height."""
    with visitor.house.opened(visitor.workspace) as here:
        if not here.marks.shows(visitor.view(), source):
            raise _missing(source)
        file, sha256 = _file(here, source)
    return Response(visitor.house.pictures.picture(file, sha256, page), media_type="image/png")


def _file(here: Workspace, source: str) -> tuple[Path, str]:
    """The file that a document was read from, as it was then."""
    known = here.material.files().get(source)
    if known is None or known.fault:
        raise _missing(source)
    path = Roots.open(here.folder).path(source)
    if path is None or not path.is_file():
        raise Refused(404, "its file is not there any more, or lies in an archive", code="document_not_found")
    state = path.stat()
    if (state.st_size, state.st_mtime) != (known.bytes, known.modified):
        raise Fixable("the file has changed since it was read", "add it again")
    return path, known.sha256


def _missing(source: str) -> Refused:
    return Refused(404, f"there is no document '{source[:200]}'", code="document_not_found")
