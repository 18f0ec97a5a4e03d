"""Pages of the web: public addresses only, checked once and again at each redirect, within limits."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from shuyuan.base.errors import Fixable
from shuyuan.base.workspace import Workspace
from shuyuan.prepare.adding import add
from shuyuan.read import address
from shuyuan.read.address import fetch, is_public

PAGE = "<html><body><main><h1>书院指南</h1><p>借期三十天。</p></main></body></html>"


class Site(BaseHTTPRequestHandler):
    """A small site with good pages, redirects and traps."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        to = {
            "/moved": "/page",
            "/loop": "/loop",
            "/inside": "http://169.254.169.254/latest",
            "/file": "file:///etc/passwd",
        }
        if self.path in to:
            self.send_response(302)
            self.send_header("Location", to[self.path])
            self.end_headers()
        elif self.path.startswith("/page"):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(PAGE.encode())
        elif self.path == "/large":
            self.send_response(200)
            self.end_headers()
            for _ in range(64):
                self.wfile.write(b"x" * 4096)
        else:
            self.send_error(404)

    def log_message(self, *given: object) -> None:
        """Say nothing."""


@pytest.fixture
def site() -> Iterator[ThreadingHTTPServer]:
    """The site, on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def at(site: ThreadingHTTPServer, path: str) -> str:
    """The address of a page of the site."""
    return f"http://127.0.0.1:{site.server_port}{path}"


def here(ip: str) -> bool:
    """Only this machine."""
    return ip == "127.0.0.1"


def test_a_page_is_fetched_and_redirects_are_followed(site: ThreadingHTTPServer) -> None:
    page = fetch(at(site, "/moved"), here)
    assert (page.address, page.suffix, page.data.decode()) == (at(site, "/page"), ".html", PAGE)


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/loop", "redirects more than 5"),
        ("/inside", "169.254.169.254, which is not a public address"),
        ("/file", "only plain http and https"),
        ("/none", "answers 404"),
    ],
)
def test_where_a_page_leads_is_checked(site: ThreadingHTTPServer, path: str, what: str) -> None:
    with pytest.raises(Fixable, match=what):
        fetch(at(site, path), here)


def test_a_page_without_end_is_cut_off(site: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "MOST_BYTES", 100_000)
    with pytest.raises(Fixable, match="too large"):
        fetch(at(site, "/large"), here)


@pytest.mark.parametrize(
    "given",
    [
        "http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://0.0.0.0/",
        "http://169.254.169.254/", "http://2130706433/", "http://0177.0.0.1/", "http://10.0.0.1/", "http://192.168.1.1/",
        "http://[fd00::1]/", "http://user:secret@127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1/", "http://",
        "http://[", "http://127.0.0.1:99999/",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused_unasked(given: str) -> None:
    with pytest.raises(Fixable) as error:
        fetch(given)
    assert error.value.place == given


@pytest.mark.parametrize(
    ("ip", "public"),
    [
        ("8.8.8.8", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("100.64.0.1", False), ("224.0.0.1", False),
        ("::ffff:10.0.0.1", False), ("64:ff9b::7f00:1", False), ("64:ff9b::808:808", True), ("2002:7f00:1::", False),
        ("fe80::1%eth0", False), ("::", False), ("203.0.113.1", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(ip: str, public: bool) -> None:
    assert is_public(ip) is public


def test_one_private_address_of_a_name_is_enough_and_names_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def lookup(host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        asked.append(host)
        return [(2, 1, 6, "", (ip, port)) for ip in ("8.8.8.8", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(Fixable, match=r"refused: example\.org is 127\.0\.0\.1"):
        fetch("http://example.org/")
    assert asked == ["example.org"]


def test_an_address_is_added_only_when_the_network_is_allowed(
    workspace: Workspace, site: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = at(site, "/page?chapter=1")
    with pytest.raises(Fixable, match="not used unasked") as error:
        add(workspace, [page])
    assert "--allow-network" in error.value.hint
    assert site.asked == []  # type: ignore[attr-defined]
    with pytest.raises(Fixable, match="not a public address"):
        add(workspace, [page], allow_network=True)
    monkeypatch.setattr("shuyuan.prepare.adding.fetch", lambda given: fetch(given, here))
    assert add(workspace, [page], allow_network=True).read == 1
    (document,) = workspace.material.documents()
    assert (document.source, document.title) == (page, "书院指南")
    assert workspace.material.passages()[0].source == page
    assert add(workspace, [page], allow_network=True).unchanged == 1
