"""Files as OpenAI's: upload, list, read back, delete; training data for the tuning jobs."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Query, UploadFile
from fastapi.responses import FileResponse
from pydantic import BaseModel

from shuyuan.base.files import inside
from shuyuan.base.settings import Settings
from shuyuan.serve.access import Door, Visitor
from shuyuan.serve.documents import keep_upload, safe_name
from shuyuan.serve.models import Deleted
from shuyuan.serve.refusals import Refused
from shuyuan.serve.state import State

router = APIRouter(prefix="/v1", tags=["openai"])
Reader = Annotated[Visitor, Depends(Door("read"))]
Writer = Annotated[Visitor, Depends(Door("write"))]
Purpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
FOLDER = "files"


class Files(Settings):
    """Endpoints `/v1/files`."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class FileObject(BaseModel):
    """A file that was uploaded, or that a tuning job wrote."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class FileObjects(BaseModel):
    """A page of files; `after` of the next is `last_id`."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    has_more: bool
    first_id: str | None
    last_id: str | None


@router.post("/files")
def create_file(visitor: Writer, file: UploadFile, purpose: Annotated[Purpose, Form()]) -> FileObject:
    """Upload a file. Training data is JSONL; its rows are checked when a job reads them."""
    name = safe_name(file.filename or "")
    if purpose == "fine-tune" and not name.lower().endswith(".jsonl"):
        raise Refused(400, "training data must be a .jsonl file", code="invalid_file_format", param="file")
    made = f"file-{secrets.token_hex(12)}"
    path = path_of(visitor.house.folder(visitor.workspace), made, name)
    keep_upload(file, path)
    return note_file(visitor.house.state, visitor.workspace, path, name, purpose)


@router.get("/files")
def list_files(
    visitor: Reader,
    after: Annotated[str, Query(max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    purpose: Annotated[str, Query(max_length=100)] = "",
) -> FileObjects:
    """The workspace's files."""
    rows = visitor.house.state.rows(
        f"select * from files where workspace = ? and (? = '' or purpose = ?) order by created {order}, rowid {order}",
        (visitor.workspace, purpose, purpose),
    )
    ids = [row["id"] for row in rows]
    start = ids.index(after) + 1 if after in ids else 0
    page = [_object(row) for row in rows[start : start + limit]]
    return FileObjects(
        data=page,
        has_more=start + limit < len(rows),
        first_id=page[0].id if page else None,
        last_id=page[-1].id if page else None,
    )


@router.get("/files/{file}")
def one_file(visitor: Reader, file: str) -> FileObject:
    """One file."""
    return _object(file_row(visitor, file))


@router.get(
    "/files/{file}/content",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
def file_content(visitor: Reader, file: str) -> FileResponse:
    """A file's bytes, always as an attachment."""
    row = file_row(visitor, file)
    path = path_of(visitor.house.folder(visitor.workspace), row["id"], row["name"])
    if not path.is_file():
        raise Refused(404, f"the content of '{file[:100]}' is gone", code="file_not_found")
    return FileResponse(path, media_type="application/octet-stream", filename=row["name"])


@router.delete("/files/{file}")
def delete_file(visitor: Writer, file: str) -> Deleted:
    """Delete a file. A job that waits to read it will fail and say so."""
    row = file_row(visitor, file)
    path_of(visitor.house.folder(visitor.workspace), row["id"], row["name"]).unlink(missing_ok=True)
    with visitor.house.state.change() as db:
        db.execute("delete from files where id = ?", (row["id"],))
    return Deleted(id=row["id"], object="file")


def file_row(visitor: Visitor, file: str) -> dict[str, Any]:
    """What is known of a file of the visitor's workspace; another's does not exist."""
    row = visitor.house.state.row("select * from files where id = ? and workspace = ?", (file, visitor.workspace))
    if row is None:
        raise Refused(404, f"No such File object: {file[:100]}", code="file_not_found", param="id")
    return row


def path_of(workspace: Path, file: str, name: str) -> Path:
    """Where a file lies: under its id, with its own suffix."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122  (a name, not a path)
    return inside(workspace / FOLDER, f"{file}{suffix if suffix[1:].isalnum() and suffix.isascii() else ''}")


def note_file(state: State, workspace: str, path: Path, name: str, purpose: str) -> FileObject:
    """Make a file known under the id that its path has, once its content is on the disk."""
    file, size, now = path.stem, path.stat().st_size, round(time.time())
    with state.change() as db:
        db.execute("insert into files values (?, ?, ?, ?, ?, ?)", (file, workspace, name, purpose, size, now))
    return FileObject(id=file, bytes=size, created_at=now, filename=name, purpose=purpose)


def _object(row: dict[str, Any]) -> FileObject:
    return FileObject(
        id=row["id"], bytes=row["bytes"], created_at=row["created"], filename=row["name"], purpose=row["purpose"]
    )
