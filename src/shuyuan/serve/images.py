"""Images as OpenAI's address has them: there is no painter yet, and the API's own error says so."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import ConfigDict, Field

from shuyuan.base.settings import Settings
from shuyuan.serve.access import Door, Visitor
from shuyuan.serve.limits import Body
from shuyuan.serve.refusals import Refused

router = APIRouter(prefix="/v1", tags=["openai"])
Asker = Annotated[Visitor, Depends(Door("ask"))]


class Images(Settings):
    """Endpoint `/v1/images/generations`."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class ImageRequest(Body):
    """What is to be painted."""

    model_config = ConfigDict(extra="allow")
    prompt: str = Field(min_length=1, max_length=32_000)


@router.post("/images/generations")
def generate_image(visitor: Asker, wanted: ImageRequest) -> dict[str, Any]:
    """Refused: no model of this server paints."""
    raise Refused(400, "no model of this server makes images", code="unsupported_operation", param="model")
