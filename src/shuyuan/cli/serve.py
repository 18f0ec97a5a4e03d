"""Serve the workspaces: the page, its API, and an API for every OpenAI client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.errors import Fixable
from shuyuan.cli.shell import Command, Desk


class Serve(Command):
    """Serve this workspace, or all workspaces in this folder, on this machine only unless told otherwise."""

    examples: ClassVar[str] = """
shuyuan serve                                  then OPENAI_BASE_URL=http://127.0.0.1:8080/v1
shuyuan serve --alias gpt-4o=lora+retrieve     which assistant answers to a hosted model's name
shuyuan serve --host 0.0.0.0 --allow-host academy.lan      for others: first make a key, shuyuan key new NAME --admin
"""
    host: Annotated[str, Field(description="the address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="0: any that is free")] = 8080
    allow_host: Annotated[tuple[str, ...], Field(description="further names that this server goes by")] = ()
    alias: Annotated[tuple[str, ...], Field(description="which assistant answers to which name: NAME=ASSISTANT")] = ()
    webhook: Annotated[tuple[str, ...], Field(description="addresses that are told when a fine-tuning job ends")] = ()
    answers: Annotated[int, Field(ge=1, le=1024, description="answers written at the same time")] = 64
    waiting: Annotated[int, Field(ge=0, le=10_000, description="answers that wait; more are told to come back")] = 64
    tokens: Annotated[int, Field(ge=1, le=1 << 17, description="most tokens of one answer")] = 4096
    seconds: Annotated[float, Field(gt=0, le=86_400, description="an answer is cut after this long")] = 600.0
    upload_mb: Annotated[int, Field(ge=1, le=1_000_000, description="most megabytes of an upload")] = 500
    jobs: Annotated[int, Field(ge=1, le=64, description="jobs that run at the same time")] = 1
    open_assistants: Annotated[int, Field(ge=1, le=64, description="assistants kept in memory")] = 3

    def run(self, desk: Desk) -> int:
        """Serve until it is stopped; jobs that run then run on."""
        with needs_serving():
            from shuyuan.serve.limits import Bounds
            from shuyuan.serve.serving import serve

        bounds = Bounds(
            answers_at_once=self.answers,
            answers_waiting=self.waiting,
            answer_tokens=self.tokens,
            answer_seconds=self.seconds,
            upload_bytes=self.upload_mb * 1_000_000,
            jobs_at_once=self.jobs,
            open_assistants=self.open_assistants,
        )
        aliases = dict(_alias(given) for given in self.alias)
        serve(desk.folder, bounds, aliases, self.allow_host, webhooks=self.webhook, host=self.host, port=self.port)
        return 0


@contextmanager
def needs_serving() -> Iterator[None]:
    """Say how to install what only the server needs, where it is missing."""
    try:
        yield
    except ModuleNotFoundError as missing:
        what = f"the server needs the package {missing.name}"
        raise Fixable(what, 'install it: pip install "shuyuan[serve]"') from None


def _alias(given: str) -> tuple[str, str]:
    name, equals, assistant = given.partition("=")
    if not (name and equals and assistant):
        raise Fixable(f"--alias cannot use '{given}'", "write NAME=ASSISTANT, for example gpt-4o=lora")
    return name, assistant
