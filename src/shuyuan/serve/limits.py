"""What one server takes on: every request, queue and upload has a bound."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shuyuan.base.settings import Settings

MOST_TOKENS = 1 << 17  # no model here reads more; a request's own numbers are held to it


class Body(BaseModel):
    """What a request brings: its values are taken as they are, and never turned into another type."""

    model_config = ConfigDict(strict=True)


class Bounds(Settings):
    """How much at once, how much in all. What is over a bound is refused with the reason, never cut in silence."""

    answers_at_once: Annotated[int, Field(ge=1, le=1024, description="answers that are written at the same time")] = 64
    answers_waiting: Annotated[
        int, Field(ge=0, le=10_000, description="answers that wait for their turn; then 429")
    ] = 64
    answer_tokens: Annotated[
        int, Field(ge=1, le=MOST_TOKENS, description="most tokens that one answer may ask for")
    ] = 4096
    answer_seconds: Annotated[float, Field(gt=0, le=86_400, description="an answer is cut after this long")] = 600.0
    unread_seconds: Annotated[
        float, Field(gt=0, le=86_400, description="a reader who takes nothing of what waits is cut off after this long")
    ] = 60.0
    body_bytes: Annotated[int, Field(ge=1024, le=1 << 30, description="most bytes of a JSON request")] = 4_000_000
    upload_bytes: Annotated[int, Field(ge=1024, le=1 << 40, description="most bytes of an upload")] = 500_000_000
    requests_a_minute: Annotated[int, Field(ge=1, le=1_000_000, description="of one key; then 429")] = 1200
    jobs_at_once: Annotated[int, Field(ge=1, le=64, description="jobs that run at the same time")] = 1
    jobs_waiting: Annotated[int, Field(ge=1, le=100_000, description="jobs that wait for their turn; then 429")] = 100
    open_assistants: Annotated[int, Field(ge=1, le=64, description="assistants kept in memory")] = 3
