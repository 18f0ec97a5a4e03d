"""Attacks on the server: each ends in a 4xx or changes nothing, and the server lives on."""

from __future__ import annotations

import io
import json
import re
import shutil
import socket
import sqlite3
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from serving import Served, serving, tiny_school
from tiny import tiny_folder

from shuyuan.base.errors import Fixable
from shuyuan.base.shelf import HOUSE
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.serve.access import SCOPES, Door
from shuyuan.serve.app import build_app
from shuyuan.serve.documents import safe_name, safe_path
from shuyuan.serve.house import House
from shuyuan.serve.limits import Bounds
from shuyuan.serve.serving import serve

PUBLIC = {("GET", "/health"), ("POST", "/api/session"), ("DELETE", "/api/session"), ("GET", "/api/version")}
NOWHERE = (
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e",
    "..%5c..",
    "....%2f%2f",
    "%00",
    "%2fetc%2fpasswd",
    "%ef%bc%8f",
    "%c0%ae",
    "C:%5c",
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("security")
    tiny_school(at)
    tiny_school(at, "other")
    return at / "house"


@pytest.fixture(scope="module")
def served(house: Path) -> Iterator[Served]:
    """A server with keys: an administrator's, a reader's and a writer's of `school`, and a stranger's of `other`."""
    with serving(house, Bounds(upload_bytes=2_000_000, body_bytes=200_000)) as running:
        access = running.house.access
        KEYS["admin"] = access.add_key("root", admin=True)[1]
        for role in ("reader", "writer", "owner"):
            KEYS[role] = access.add_key(role)[1]
            access.set_role("school", role, role)
        KEYS["stranger"] = access.add_key("stranger")[1]
        access.set_role("other", "stranger", "owner")
        KEYS["asker"] = access.add_key("reader", ["ask"])[1]
        yield running


KEYS: dict[str, str] = {}


def by(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


def routes(app: Any) -> list[APIRoute]:
    """Every endpoint; FastAPI keeps those of an included router within it."""
    found = []
    for route in app.routes:
        within = getattr(route, "original_router", None)
        found += routes(within) if within else [route] if isinstance(route, APIRoute) else []
    return found


def doors(route: APIRoute) -> list[Door]:
    return [one.call for one in route.dependant.dependencies if isinstance(one.call, Door)]


def filled(path: str) -> str:
    names = {"workspace": "school", "form": "html"}
    return re.sub(r"{(\w+)(?::path)?}", lambda match: names.get(match[1], "nothing"), path)


def all_routes() -> list[tuple[str, APIRoute]]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        app = build_app(House(Path(folder)), Path(folder) / "none")
    return [(method, route) for route in routes(app) for method in sorted(route.methods)]


ROUTES = all_routes()


def test_every_endpoint_has_the_one_door() -> None:
    assert len(ROUTES) > 50
    without = {(method, route.path) for method, route in ROUTES if len(doors(route)) != 1}
    assert without == {(method, path) for method, path in PUBLIC if (method, path) in {(m, r.path) for m, r in ROUTES}}


@pytest.mark.parametrize(("method", "route"), ROUTES, ids=lambda one: getattr(one, "path", one))
def test_nobody_enters_without_a_key(served: Served, method: str, route: APIRoute) -> None:
    if (method, route.path) in PUBLIC:
        return
    path = filled(route.path)
    tried: list[tuple[str, dict[str, str]]] = [
        ("", {}),
        ("", {"Authorization": "Bearer sy-wrong"}),
        ("", {"Authorization": f"Basic {KEYS['admin']}"}),
        ("", {"Cookie": "shuyuan=sy-wrong"}),
        ("", {"x-api-key": "sy-wrong"}),
        (f"?key={KEYS['admin']}&api_key={KEYS['admin']}", {}),
    ]
    for query, headers in tried:
        status, body, response = served.send(method, path + query, headers=headers)
        assert status == 401, (method, path, body)
        assert response.getheader("WWW-Authenticate") == "Bearer"


@pytest.mark.parametrize(("method", "route"), ROUTES, ids=lambda one: getattr(one, "path", one))
def test_roles_and_scopes_decide_at_every_endpoint(served: Served, method: str, route: APIRoute) -> None:
    if (method, route.path) in PUBLIC:
        return
    (door,) = doors(route)
    path = filled(route.path)
    if "{workspace}" in route.path:
        status, _, _ = served.send(method, path, {}, headers=by("stranger"))
        assert status in (404, 422), "a workspace that one may not see does not exist"
        assert served.send(method, path, headers=by("stranger"))[0] == 404 or method in ("POST", "PUT")
    lower = {"read": [], "ask": [], "write": ["reader"], "admin": ["reader", "writer"]}[door.scope]
    for role in lower:
        assert served.send(method, path, headers=by(role))[0] == 403 or not door.workspace, (role, path)
    if door.scope != "ask":
        assert served.send(method, path, headers=by("asker"))[0] == 403, "the key's own scope is narrower"
    if not door.workspace and door.scope == "admin":
        assert served.send(method, path, headers=by("owner"))[0] == 403


def test_a_role_taken_away_is_gone_at_once_and_so_is_a_key(served: Served) -> None:
    access = served.house.access
    key, secret = access.add_key("guest")
    access.set_role("school", "guest", "reader")
    headers = {"Authorization": f"Bearer {secret}"}
    assert served.send("GET", "/api/workspaces/school", headers=headers)[0] == 200
    access.set_role("school", "guest", None)
    assert served.send("GET", "/api/workspaces/school", headers=headers)[0] == 404
    access.remove_key(key)
    assert served.send("GET", "/api/server", headers=headers)[0] == 401


def test_another_workspaces_job_and_file_do_not_exist(served: Served) -> None:
    order = {"route": "prompt", "name": "theirs"}
    _, job, _ = served.send("POST", "/api/workspaces/other/jobs/teach", order, headers=by("stranger"))
    for path in (f"/api/workspaces/school/jobs/{job['id']}", f"/v1/fine_tuning/jobs/{job['id']}"):
        assert served.send("GET", path, headers=by("owner"))[0] == 404
    status, body, _ = served.send("GET", "/v1/models", headers=by("reader"))
    assert status == 200
    assert {model["owned_by"] for model in body["data"]} == {"school"}
    asked = {"model": "other/bare", "messages": [{"role": "user", "content": "a"}]}
    assert served.send("POST", "/v1/chat/completions", asked, headers=by("reader"))[0] == 404
    headers = {**by("reader"), "OpenAI-Project": "other"}
    assert served.send("GET", "/v1/files", headers=headers)[0] == 404


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_foreign_names_and_origins_are_refused_on_every_method(served: Served, method: str) -> None:
    for path in ("/api/workspaces/school", "/v1/models", "/health", "/"):
        for host in ("evil.example", "127.0.0.1.evil.example", "", "localhost.evil", "[", "evil.example:80@127.0.0.1"):
            status, _, _ = served.send(method, path, headers={**by("admin"), "Host": host})
            assert status in (400, 421), (method, path, host)
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": ""},
            {"Origin": "http://127.0.0.1:1"},
            {"Origin": f"http://127.0.0.1:{served.port}.evil.example"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            status, _, _ = served.send(method, path, headers={**by("admin"), **headers})
            assert status == 403 or (headers == {"Sec-Fetch-Site": "same-site"} and path == "/"), (method, headers)
    assert served.send("GET", "/v1/models", headers={**by("admin"), "Sec-Fetch-Site": "cross-site"})[0] == 403
    own = {**by("admin"), "Origin": served.url, "Sec-Fetch-Site": "same-origin"}
    assert served.send("GET", "/v1/models", headers=own)[0] == 200


def test_a_form_of_another_site_changes_nothing(served: Served) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain", ""):
        headers = {**by("admin"), "Content-Type": kind}
        status, _, _ = served.send("POST", "/api/keys", raw=b'{"user": "evil", "admin": true}', headers=headers)
        assert status == 415
    assert "evil" not in json.dumps(served.house.access.listed())


@pytest.mark.parametrize("name", NOWHERE)
def test_no_path_parameter_leads_out(served: Served, name: str) -> None:
    for method, route in ROUTES:
        for parameter in re.findall(r"{(\w+)(?::path)?}", route.path):
            path = re.sub(rf"{{{parameter}(:path)?}}", name, route.path)
            status, body, _ = served.send(method, filled(path), headers=by("admin"))
            assert 400 <= status < 500, (method, path, status, body)
    for query in ("source", "assistant"):
        path = f"/api/workspaces/school/document?source={name}&{query}={name}"
        assert served.send("GET", path, headers=by("admin"))[0] == 404
    order = {"route": "prompt", "name": name.replace("%2f", "/").replace("%5c", "\\")}
    status, body, _ = served.send("POST", "/api/workspaces/school/jobs/teach", order, headers=by("admin"))
    assert status in (400, 422), body


def test_uploads_keep_within_their_folder_whatever_they_are_called(served: Served, house: Path) -> None:
    names = [
        "../../evil.md",
        "..\\..\\evil.md",
        "/etc/evil.md",
        "C:\\evil.md",
        ".hidden",
        "山\u202egnp.md",
        "a" * 300 + ".md",
    ]
    before = {path for path in house.parent.rglob("*") if "evil" in path.name}
    for name in names:
        status, body = upload(served, name, b"# x\n\ntext")
        assert status in (202, 400), body
    found = {path for path in house.parent.rglob("*") if "evil" in path.name and path.is_file()} - before
    assert found
    assert all(path.resolve().is_relative_to(house / "school" / "uploads") for path in found), found
    assert house / "school" / "uploads" / "etc" / "evil.md" in found
    assert all(len(path.name.encode()) <= 255 for path in (house / "school" / "uploads").iterdir())
    assert safe_name("a/../b\x00c\u202e.md") == "b_c_.md"
    assert safe_path("a/b/c.md") != safe_path("a/d/c.md"), "files of one name in two folders keep apart"
    assert safe_path("/../手册\\..\\ a.md") == "手册/a.md"


def upload(served: Served, name: str, content: bytes, by_: str = "writer") -> tuple[int, Any]:
    mark = "----x"
    head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    headers = {**by(by_), "Content-Type": f"multipart/form-data; boundary={mark}"}
    raw = head + content + f"\r\n--{mark}--\r\n".encode()
    status, body, _ = served.send("POST", "/api/workspaces/school/documents", raw=raw, headers=headers)
    return status, body


def test_too_much_is_refused_while_it_comes(served: Served) -> None:
    status, _, _ = served.send("POST", "/api/workspaces/school/ask", {"question": "长" * 100_000}, headers=by("reader"))
    assert status == 413
    assert upload(served, "big.md", b"x" * 2_100_000)[0] == 413
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as lying:
        head = (
            f"POST /api/workspaces/school/ask HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEYS['reader']}\r\n"
        )
        head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        lying.sendall(head.encode())
        piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        try:
            for _ in range(40):
                lying.sendall(piece)
        except OSError:
            pass  # it was refused and closed before all had been sent
        assert b"413" in lying.recv(200)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as stranger:
        stranger.sendall(
            b"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: 1000000\r\n\r\n"
        )
        assert b"401" in stranger.recv(200), "answered before a byte of the body was sent"


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[" * 100_000,
        b'{"question": NaN}',
        b'{"question": "\\ud800"}',
        b'{"question": "a", "temperature": NaN}',
        b'{"question": "a", "temperature": 1e999}',
        b'{"question": "a", "max_tokens": -1}',
        b'{"question": "a", "max_tokens": 1e18}',
        b'{"question": "a", "seed": 1e400}',
        b'{"question": ""}',
        b'{"question": "  "}',
        b'{"question": null}',
        b'{"question": "a", "assistant": "\\u0000"}',
        b'{"question": "a", "history": {"role": "user"}}',
        b"\xff\xfe",
    ],
    ids=repr,
)
def test_odd_values_are_refused(served: Served, raw: bytes) -> None:
    status, body, _ = served.send("POST", "/api/workspaces/school/ask", raw=raw, headers=by("reader"))
    assert status in (400, 404, 422), body
    assert body["error"]["message"]


def test_hostile_settings_of_a_job_are_refused_and_named(served: Served) -> None:
    for order in (
        {"route": "lora", "settings": {"rank": 10**30}},
        {"route": "lora", "settings": {"rank": "\ud800"}},
        {"route": "lora", "settings": {"no": 1}},
        {"route": "../lora"},
        {"route": "lora", "on": "nobody"},
        {"route": "lora", "name": "bare"},
        {"route": "lora", "guards": {"hold_out": -1}},
    ):
        raw = json.dumps(order).encode()
        status, body, _ = served.send("POST", "/api/workspaces/school/jobs/teach", raw=raw, headers=by("writer"))
        assert status in (400, 404, 422), body


def test_hostile_documents_become_faults_and_the_server_lives(served: Served) -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("[Content_Types].xml", "<Types/>")
        packed.writestr("word/document.xml", "<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><x>&a;</x>")
    for name, content in {
        "bomb.docx": bomb.getvalue(),
        "cut.pdf": b"%PDF-1.7\n1 0 obj\n<< /Length 99999999 >>\nstream\n",
        "nul.md": b"\x00" * 1000,
        "half.md": b"\xff\xfe\x00",
    }.items():
        assert upload(served, name, content)[0] == 202
    _, jobs, _ = served.send("GET", "/api/workspaces/school/jobs", headers=by("writer"))
    for job in jobs["data"]:
        for _ in range(600):
            _, now, _ = served.send("GET", f"/api/workspaces/school/jobs/{job['id']}", headers=by("writer"))
            if now["status"] in ("done", "failed"):
                break
            time.sleep(0.1)
    assert now["status"] in ("done", "failed")
    _, listed, _ = served.send("GET", "/api/workspaces/school/documents?limit=1000", headers=by("reader"))
    text = json.dumps(listed)
    assert "root:" not in text
    assert any(row["fault"] for row in listed["data"])


def test_a_model_whose_template_never_ends_is_refused_and_the_server_lives(served: Served, house: Path) -> None:
    model = tiny_folder(house.parent / "strange model 怪")
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    (model / "chat_template.jinja").write_text(loops, encoding="utf-8")
    Workspace.create(house / "strange", Choices(model=str(model)))
    turns = [{"role": "user", "content": "你好 😀"}]
    asked = {"messages": turns, "max_tokens": 2}
    try:
        assert served.send("POST", "/v1/chat/completions", {**asked, "model": "school/bare"}, by("admin"))[0] == 200
        answers: list[tuple[int, Any]] = []

        def ask_it() -> None:
            sent = served.send("POST", "/v1/chat/completions", {**asked, "model": "strange/bare"}, by("admin"))
            answers.append(sent[:2])

        asking = threading.Thread(target=ask_it)
        asking.start()
        while asking.is_alive():
            status, _, _ = served.send("POST", "/v1/chat/completions", {**asked, "model": "school/bare"}, by("admin"))
            assert status == 200, "the others are answered meanwhile"
            time.sleep(0.05)
        ask_it()
    finally:
        shutil.rmtree(house / "strange")
    for status, told in answers:
        assert status == 400
        assert "chat_template.jinja takes more than 3 seconds" in told["error"]["message"]
    assert len(answers) == 2


def test_every_answer_carries_the_headers_and_no_cors(served: Served) -> None:
    for method, path in (("GET", "/health"), ("GET", "/v1/models"), ("GET", "/no/where"), ("POST", "/api/session")):
        _, _, response = served.send(method, path, headers={"Access-Control-Request-Method": "GET"})
        policy = response.getheader("Content-Security-Policy") or ""
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert response.getheader("X-Content-Type-Options") == "nosniff"
        assert response.getheader("Referrer-Policy") == "no-referrer"
        assert not [name for name, _ in response.getheaders() if name.lower().startswith("access-control")]
        assert response.getheader("Server") is None
    assert served.send("GET", "/docs", headers=by("admin"))[0] == 404, "its page would load scripts from elsewhere"


def test_the_cookie_of_the_page_is_out_of_reach_of_scripts(served: Served) -> None:
    status, _, response = served.send("POST", "/api/session", {"key": KEYS["reader"]})
    cookie = response.getheader("Set-Cookie") or ""
    assert status == 204
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert served.send("GET", "/api/server", headers={"Cookie": cookie.partition(";")[0]})[1]["user"] == "reader"
    assert served.send("POST", "/api/session", {"key": "sy-wrong"})[0] == 401


def test_no_key_is_written_anywhere_and_the_audit_tells_who_did_what(
    served: Served, house: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    secret_text = "山长的秘密 is 42"
    served.send("POST", "/api/workspaces/school/ask", {"question": secret_text}, headers=by("reader"))
    served.send("POST", "/api/workspaces/school/jobs/exam", {"name": "no/name"}, headers=by("writer"))
    served.send("PUT", "/api/workspaces/school/members/reader", {"role": "reader"}, headers=by("owner"))
    with sqlite3.connect(house / ".serve" / "serve.sqlite") as db:
        db.execute("pragma wal_checkpoint(truncate)")
    everything = b"".join(path.read_bytes() for path in (house / ".serve").rglob("*") if path.is_file())
    for secret in KEYS.values():
        assert secret.encode() not in everything
    _, lines, _ = served.send("GET", "/api/audit", headers=by("admin"))
    assert secret_text not in json.dumps(lines, ensure_ascii=False)
    done = [(line["user"], line["method"], line["route"], line["status"]) for line in lines]
    assert ("owner", "PUT", "/api/workspaces/{workspace}/members/{user}", 204) in done
    assert any(line[0] == "writer" and line[2].endswith("/jobs/exam") for line in done)
    printed = capfd.readouterr()
    assert not any(secret in printed.out + printed.err for secret in KEYS.values())


def test_too_many_requests_are_told_when_to_come_back(house: Path) -> None:
    with serving(house, Bounds(requests_a_minute=5)) as running:
        headers = by("reader")
        seen = [running.send("GET", "/api/server", headers=headers) for _ in range(8)]
    assert [status for status, _, _ in seen] == [200] * 5 + [429] * 3
    assert int(seen[-1][2].getheader("Retry-After") or 0) >= 1


def test_other_addresses_need_a_key_first(tmp_path: Path) -> None:
    with pytest.raises(Fixable, match="everyone who reaches"):
        serve(tmp_path, Bounds(), {}, (), host="0.0.0.0", port=0)


def test_a_second_server_on_one_folder_is_refused(tmp_path: Path) -> None:
    import fcntl

    (tmp_path / ".serve").mkdir()
    with (tmp_path / ".serve" / "server.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Fixable, match="in use"):
            serve(tmp_path, Bounds(), {}, (), host="127.0.0.1", port=0)


def test_idle_connections_keep_nobody_out(served: Served) -> None:
    idle = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(100)]
    half = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(50)]
    for one in half:
        one.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le")
    try:
        assert served.send("GET", "/health")[0] == 200
    finally:
        for one in (*idle, *half):
            one.close()


def test_files_are_opened_only_where_paths_were_made_safe() -> None:
    """Every endpoint goes through `inside`, a server-made id or a checked name; a new file that opens any is seen."""
    seen = {
        (path.name, line.strip().split("(")[0].rpartition(" ")[2])
        for path in (HOUSE / "serve").glob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"FileResponse\(|(?<![.\w])open\(|\.open\(|read_bytes\(|read_text\(|unlink\(|rmtree\(", line)
    }
    assert {name for name, _ in seen} <= {
        "app.py", "documents.py", "embeddings.py", "exams.py", "files.py", "house.py", "jobs.py", "machine.py",
        "models.py", "pages.py", "queue.py", "tail.py", "work.py", "workspaces.py", "asking.py", "access.py",
        "webhooks.py",
    }  # fmt: skip


def test_scopes_are_what_the_page_is_told() -> None:
    assert SCOPES == ("read", "ask", "write", "admin")
    assert threading.active_count() < 50
