"""Models as OpenAI and Anthropic list them: the assistants of the workspaces, and what tuning jobs made."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, computed_field

from shuyuan.base.files import locked
from shuyuan.base.settings import Settings
from shuyuan.serve.access import Door, Visitor
from shuyuan.serve.refusals import Refused

router = APIRouter(prefix="/v1", tags=["openai"])
Reader = Annotated[Visitor, Depends(Door("read"))]
Writer = Annotated[Visitor, Depends(Door("write"))]


class Models(Settings):
    """Endpoints `/v1/models`."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class ModelEntry(BaseModel):
    """A model that can be asked, with what OpenAI's clients read and what Anthropic's do."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    type: Literal["model"] = "model"
    lifecycle: Literal["active"] = "active"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def display_name(self) -> str:
        """Its id: it has no other name."""
        return self.id

    @computed_field  # type: ignore[prop-decorator]
    @property
    def created_at(self) -> datetime:
        """`created`, as RFC 3339 writes it."""
        return datetime.fromtimestamp(self.created, UTC)


class ModelEntries(BaseModel):
    """All of them, on one page."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]
    has_more: Literal[False] = False

    @computed_field  # type: ignore[prop-decorator]
    @property
    def first_id(self) -> str | None:
        """Where the page begins."""
        return self.data[0].id if self.data else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def last_id(self) -> str | None:
        """Where it ends."""
        return self.data[-1].id if self.data else None


class Deleted(BaseModel):
    """It is gone."""

    id: str
    object: str
    deleted: Literal[True] = True


@router.get("/models")
def list_models(visitor: Reader) -> ModelEntries:
    """Every assistant of every workspace that you may see; those of other workspaces as `workspace/assistant`."""
    return ModelEntries(data=[ModelEntry(**one) for one in visitor.house.models(visitor)])


@router.get("/models/{model:path}")
def one_model(visitor: Reader, model: str) -> ModelEntry:
    """One model; a hosted model's name tells which of ours answers to it (`owned_by`)."""
    known = {one["id"]: one for one in visitor.house.models(visitor)}
    if model in known:
        return ModelEntry(**known[model])
    workspace, name = visitor.house.resolve(visitor, model)
    shown = known.get(name) or known[f"{workspace}/{name}"]
    return ModelEntry(id=model, created=shown["created"], owned_by=f"{workspace}/{name}")


@router.delete("/models/{model:path}")
def delete_model(visitor: Writer, model: str) -> Deleted:
    """Delete a model that a tuning job made, with its weights."""
    house = visitor.house
    row = house.state.row("select * from models where id = ?", (model,))
    if row is None or not visitor.may("write", row["workspace"]):
        raise Refused(404, f"there is no tuned model '{model[:200]}'", code="model_not_found", param="model")
    with house.opened(row["workspace"]) as here:
        run = here.run(row["run"])
        with locked(run.folder.parent / f".{run.name}.lock", f"deleting {run.name}"):
            (run.folder / "done.json").unlink(missing_ok=True)  # first: half a folder must not look like an assistant
            shutil.rmtree(run.folder, ignore_errors=True)
    with house.state.change() as db:
        db.execute("delete from models where id = ?", (model,))
    return Deleted(id=model, object="model")
