"""Start the server: one process, one port, one folder."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from shuyuan.base.errors import Fixable
from shuyuan.base.files import locked
from shuyuan.base.progress import say
from shuyuan.serve.app import PAGE, build_app
from shuyuan.serve.house import House
from shuyuan.serve.limits import Bounds
from shuyuan.serve.state import STATE
from shuyuan.serve.unread import Watched

SHUTDOWN_SECONDS = 5  # for answers that are being written when the server is told to stop
ENDING_SECONDS = 2  # of these, to tell their readers that they are cut
KEEP_ALIVE_SECONDS = 15


def serve(
    folder: Path,
    bounds: Bounds,
    aliases: Mapping[str, str],
    hosts: tuple[str, ...],
    *,
    webhooks: tuple[str, ...] = (),
    host: str,
    port: int,
) -> None:
    """Serve a folder until the process is told to stop. `Fixable`: another server, a taken port, no key for others."""
    with locked(folder / STATE / "server.lock", "shuyuan serve"):
        house = House(folder, bounds, aliases, hosts, webhooks)
        if not _is_local(host) and not house.access.needed():
            raise Fixable(
                f"everyone who reaches {host} could do everything here",
                "make a key first: shuyuan key new NAME --admin; or leave --host out",
            )
        listening = _listen(host, port)
        at = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        say(f"serving {len(house.workspaces())} workspaces of {house.root}")
        say(f"{'the page' if PAGE.is_dir() else 'API'}: http://{shown}:{at}/ · OpenAI clients: http://{shown}:{at}/v1")
        if webhooks:
            say(f"told when a fine-tuning job ends: {', '.join(webhooks)}; signed with {house.webhooks.secret_file}")
        Server(configured(build_app(house))).run(sockets=[listening])


class Server(uvicorn.Server):
    """Tells answers that are being written that the server stops, in time for them to say so to their readers."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let answers end for a while, then end them."""
        closing: asyncio.Event = self.config.app.state.closing  # type: ignore[union-attr]
        asyncio.get_running_loop().call_later(SHUTDOWN_SECONDS - ENDING_SECONDS, closing.set)
        await super().shutdown(sockets)


def configured(app: FastAPI) -> uvicorn.Config:
    """How the application is run."""
    return uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # addresses may hold what people look for
        server_header=False,
        date_header=False,
        http=partial(Watched, unread_seconds=app.state.house.bounds.unread_seconds),  # type: ignore[arg-type]
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        h11_max_incomplete_event_size=64_000,
        ws="none",
    )


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise Fixable(f"cannot listen on {host}:{port}: {error.strerror}", "choose another --port or --host") from None
    listening.listen(1024)
    listening.set_inheritable(False)
    return listening
