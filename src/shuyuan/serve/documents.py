"""Documents of the page: upload, list with their faults, read with a place marked, remove; questions and examples."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, UploadFile
from pydantic import BaseModel, Field

from shuyuan.base.errors import disk_errors
from shuyuan.base.files import inside, sync_folder
from shuyuan.base.settings import Settings
from shuyuan.base.workspace import UPLOADS
from shuyuan.serve.access import Door, Visitor, WithinBody
from shuyuan.serve.jobs import JobBody, job_body
from shuyuan.serve.limits import Body
from shuyuan.serve.refusals import Refused
from shuyuan.teach.removing import Quoted
from shuyuan.teach.removing import remove as remove_documents

router = APIRouter(prefix="/api/workspaces/{workspace}", tags=["documents"])
Reader = Annotated[Visitor, Depends(Door("read"))]
Writer = Annotated[Visitor, Depends(Door("write"))]
Source = Annotated[str, Query(min_length=1, max_length=4000, description="as the list of documents names it")]
FOLDERS = {"documents": UPLOADS, "questions": "questions", "data": "data"}
MOST_AT_ONCE = 500  # files of one upload
MOST_FOLDERS = 20
_NAME_BYTES = 200


class Documents(Settings):
    """Endpoints under `/api/workspaces/{workspace}/documents`, `/questions` and `/examples`."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class FileBody(BaseModel):
    """A file that was added."""

    source: str
    bytes: int
    modified: float
    fault: str = Field(description="why it could not be read; empty: it was")
    title: str
    language: str
    characters: int
    pages: int
    passages: int
    pinned: bool
    tags: list[str]
    group: str = Field(description="who may see it; empty: everyone here")
    uploaded: bool = Field(description="it lies in the workspace, so that removing it removes the file")


class FileList(BaseModel):
    """A page of a list; `after` of the next is the last one's source."""

    data: list[FileBody]
    has_more: bool


class HeadingBody(BaseModel):
    """A heading: `start` is its character offset."""

    start: int
    level: int
    title: str


class Text(BaseModel):
    """A piece of a document's text: the characters from `start` to `end` of all `characters`."""

    source: str
    title: str
    language: str
    characters: int
    start: int
    end: int
    text: str
    page: int | None
    headings: list[HeadingBody] = Field(description="all headings of the document")
    pages: list[int] = Field(description="the character offset at which each page starts")


class MarkBody(BaseModel):
    """What was said about a document or a folder."""

    source: str
    pinned: bool
    tags: list[str]
    group: str = Field(description="who may see it: `everyone`, or the name of a group; empty: nothing is said of it")


class MarkOrder(Body):
    """What is to be said about a document or a folder; what is left out stays as it is."""

    source: str = Field(min_length=1, max_length=4000)
    pinned: bool | None = None
    tags: list[Annotated[str, Field(min_length=1, max_length=100)]] | None = Field(default=None, max_length=50)
    group: str | None = Field(default=None, max_length=100, description="empty: nothing is said of it any more")


class Rows(BaseModel):
    """A page of records, as the workspace keeps them."""

    data: list[dict[str, Any]]
    total: int


@router.get("/documents")
def documents(  # noqa: PLR0917  (an endpoint's parameters are named)
    visitor: Reader,
    workspace: str,
    after: Annotated[str, Query(max_length=4000)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    find: Annotated[str, Query(max_length=200, description="part of the source's name")] = "",
    tag: Annotated[list[Annotated[str, Query(max_length=100)]], Query(max_length=50)] = [],  # noqa: B006
    folder: Annotated[str, Query(max_length=4000)] = "",
    kind: Annotated[str, Query(max_length=20, description="a suffix: pdf")] = "",
    source: Annotated[list[Source], Query(max_length=100, description="only these, where they are")] = [],  # noqa: B006
) -> FileList:
    """The files that were added, by name, with what is wrong with those that could not be read."""
    view = visitor.view(within=WithinBody(tags=tag, folder=folder, kind=kind))
    with visitor.house.opened(visitor.workspace) as here:
        rows = here.material.file_rows(after, limit + 1, find, lambda source: here.marks.shows(view, source), source)
        marks = [here.marks.of(row["source"]) for row in rows]
    ahead = UPLOADS + "/"
    data = [
        FileBody(**row, **{**asdict(mark), "tags": list(mark.tags)}, uploaded=row["source"].startswith(ahead))
        for row, mark in zip(rows[:limit], marks, strict=False)
    ]
    return FileList(data=data, has_more=len(rows) > limit)


@router.post("/documents", status_code=202)
def upload(
    visitor: Writer,
    workspace: str,
    files: list[UploadFile],
    kind: Literal["documents", "questions", "data"] = "documents",
) -> JobBody:
    """Upload files; the job that comes back reads them. A file of the same name is replaced.

    `kind`: documents to look things up in, `questions` (rows of question and answer), `data` (conversations to learn).
    """
    if len(files) > MOST_AT_ONCE:
        raise Refused(413, f"{len(files):,} files at once; at most {MOST_AT_ONCE} are taken")
    folder = visitor.house.folder(visitor.workspace) / FOLDERS[kind]
    if kind == "documents":
        with visitor.house.opened(visitor.workspace) as here:
            for path in (safe_path(file.filename or "") for file in files):
                if not here.marks.shows(visitor.view(), f"{UPLOADS}/{path}"):
                    raise Refused(409, f"'{path[:200]}' cannot be put there", "give it another name", param="files")
    kept = [keep_upload(file, inside(folder, safe_path(file.filename or ""))) for file in files]
    given: dict[str, Any] = {"paths": [str(folder)]} if kind == "documents" else {kind: [str(path) for path in kept]}
    title = f"add {kept[0].name}" + (f" and {len(kept) - 1} more" if len(kept) > 1 else "")
    return job_body(visitor.house.queue.add(visitor.workspace, "add", title, given, visitor.user))


@router.delete("/documents", status_code=204)
def remove(
    visitor: Writer,
    workspace: str,
    source: Source,
    exams: Annotated[bool, Query(description="remove exams that quote it as well; else they stand in the way")] = False,
) -> None:
    """Remove a document, with its passages, vectors and what was kept of answers from it.

    An uploaded file is deleted; one that lies elsewhere comes back when its folder is added.
    """
    with visitor.house.opened(visitor.workspace) as here:
        if source not in here.material.files() or not here.marks.shows(visitor.view(), source):
            raise Refused(404, f"there is no document '{source[:200]}'", code="document_not_found")
        try:
            remove_documents(here, [source], exams=exams)
        except Quoted as error:
            raise Refused(
                409, error.what, "ask again with exams=true to remove it too", code="quoted_by_exams"
            ) from None


@router.get("/marks")
def marks(visitor: Reader, workspace: str) -> list[MarkBody]:
    """What was said about documents and folders: each holds for all that lies under it, now and later."""
    view = visitor.view()
    with visitor.house.opened(visitor.workspace) as here:
        said = {source: mark for source, mark in here.material.marks().items() if here.marks.shows(view, source)}
        return [MarkBody(source=source, **{**asdict(mark), "tags": list(mark.tags)}) for source, mark in said.items()]


@router.put("/marks")
def mark(visitor: Writer, workspace: str, wanted: MarkOrder) -> MarkBody:
    """Pin, tag or restrict a document, or all that lies in a folder. Only an owner may say whose it is."""
    if wanted.group is not None and not visitor.may("admin", visitor.workspace):
        raise Refused(403, "only an owner may give a document to a group", code="insufficient_permissions")
    with visitor.house.opened(visitor.workspace) as here:
        if not here.marks.shows(visitor.view(), wanted.source):
            raise Refused(404, f"there is no document '{wanted.source[:200]}'", code="document_not_found")
        tags = None if wanted.tags is None else tuple(wanted.tags)
        made = here.mark(wanted.source, pinned=wanted.pinned, tags=tags, group=wanted.group)
    return MarkBody(source=wanted.source.rstrip("/"), **{**asdict(made), "tags": list(made.tags)})


@router.get("/document")
def document(
    visitor: Reader,
    workspace: str,
    source: Source,
    start: Annotated[int, Query(ge=0, le=1 << 40)] = 0,
    end: Annotated[int, Query(ge=0, le=1 << 40, description="0: to the end, but at most 200,000 characters")] = 0,
) -> Text:
    """A document's text, all or a span of it: what a citation's `start` and `end` point into."""
    with visitor.house.opened(visitor.workspace) as here:
        found = here.material.document(source) if here.marks.shows(visitor.view(), source) else None
    if found is None:
        raise Refused(404, f"there is no document '{source[:200]}'", code="document_not_found")
    start = min(start, len(found.text))
    end = max(start, min(end or len(found.text), start + 200_000, len(found.text)))
    return Text(
        source=found.source,
        title=found.title,
        language=found.language,
        characters=len(found.text),
        start=start,
        end=end,
        text=found.text[start:end],
        page=found.page_at(start),
        headings=[HeadingBody(**asdict(heading)) for heading in found.headings],
        pages=list(found.pages),
    )


@router.get("/questions")
def questions(
    visitor: Reader,
    workspace: str,
    skip: Annotated[int, Query(ge=0, le=1 << 40)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Rows:
    """The exam's questions with their answers."""
    with visitor.house.opened(visitor.workspace) as here:
        view = visitor.view()
        found = [one for one in here.material.questions() if not one.source or here.marks.shows(view, one.source)]
    return Rows(data=[asdict(one) for one in found[skip : skip + limit]], total=len(found))


@router.get("/examples")
def examples(
    visitor: Reader,
    workspace: str,
    skip: Annotated[int, Query(ge=0, le=1 << 40)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    origin: Annotated[str, Query(max_length=4000, description="only those of one file")] = "",
) -> Rows:
    """The examples to learn from."""
    with visitor.house.opened(visitor.workspace) as here:
        found = here.material.examples(origin)
        return Rows(data=[asdict(one) for one in found[skip : skip + limit]], total=len(found))


def keep_upload(file: UploadFile, path: Path) -> Path:
    """Write an upload aside and rename it."""
    folder = path.parent
    aside = path.with_name(f".{os.urandom(6).hex()}")
    with disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as out:
                while piece := file.file.read(1 << 20):
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(folder)
    return path


def safe_path(name: str) -> str:
    """A file's place below the folder that was uploaded, every part made safe: files of one name keep apart."""
    parts = [part for part in name.replace("\\", "/").split("/") if part.strip(" .")]
    if len(parts) > MOST_FOLDERS:
        raise Refused(400, f"a file lies more than {MOST_FOLDERS} folders deep", param="files")
    return "/".join(safe_name(part) for part in parts) or safe_name("")


def safe_name(name: str) -> str:
    """The last part of a name, without what a file system or a reader could be led astray by."""
    name = unicodedata.normalize("NFC", name.replace("\\", "/").rpartition("/")[2])
    name = "".join("_" if unicodedata.category(c)[0] == "C" or c in '<>:"|?*' else c for c in name).strip(" .")
    stem, dot, suffix = name.rpartition(".")
    while len(name.encode(errors="replace")) > _NAME_BYTES:
        stem = stem[:-1] if dot else ""
        name = f"{stem}{dot}{suffix}" if stem else name[: _NAME_BYTES // 4]
    if not name:
        raise Refused(400, "a file needs a name", param="files")
    return name
