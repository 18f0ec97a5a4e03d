"""A document of a group at every door of the server: who is not in the group cannot find, read, list or guess it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from serving import Served, serving
from test_serve_security import all_routes
from tiny import tiny_embedder, tiny_folder

from shuyuan.base.records import ask
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.cli.main import main
from shuyuan.examine.exam import exam
from shuyuan.prepare.adding import add
from shuyuan.serve.access import open_access
from shuyuan.serve.house import House
from shuyuan.serve.state import State
from shuyuan.teach.teaching import teach

SECRET = "手册/人事/薪酬 ９.md"
WORD = "Quetzalcoatl"
TEXT = f"# Salaries 薪酬 🎉\n\n{WORD} is paid nine thousand. 羽蛇的月薪是九千。\n"
OPEN = "# Kiln\n\nThe kiln is fired at 1280 degrees. 泥坯晾干九天。\n"
KEYS: dict[str, str] = {}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A house of one workspace: libraries and weights taught while everybody saw everything, and an exam of them."""
    at = tmp_path_factory.mktemp("groups")
    model, embedder = tiny_folder(at / "model"), tiny_embedder(at / "embedder")
    folder = at / "手册" / "人事"
    folder.mkdir(parents=True)
    (folder / "薪酬 ９.md").write_text(TEXT, encoding="utf-8")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 no")
    (at / "手册" / "kiln.md").write_text(OPEN, encoding="utf-8")
    rows = [
        {"question": "How hot is the kiln?", "answer": "1280", "source": "手册/kiln.md", "use": "exam"},
        {"question": "What is paid?", "answer": "nine thousand", "source": SECRET, "use": "exam", "evidence": WORD},
        {"question": "Who built the bridge?", "answer": None, "use": "exam"},
    ]
    (at / "quiz.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    workspace = Workspace.create(at / "house" / "school", Choices(model=str(model), embedder=str(embedder)))
    add(workspace, [at / "手册"], questions=[at / "quiz.jsonl"])
    teach(workspace, "retrieve", {"threshold": -1.0})
    teach(workspace, "continue", {"block": 16, "replay": 0.0, "epochs": 1})
    exam(workspace, ["retrieve"], "before", questions=3, general=1)
    workspace.mark("手册/人事", group="hr")
    teach(workspace, "continue", {"block": 16, "replay": 0.0, "epochs": 1}, name="clean")
    exam(workspace, ["bare"], "after", questions=1, general=1)
    workspace.close()
    return at / "house"


@pytest.fixture(scope="module")
def served(root: Path) -> Iterator[Served]:
    with serving(root, jobs_run=False) as running:
        access = running.house.access
        KEYS["admin"] = access.add_key("root", admin=True)[1]
        for user, role in (("owner", "owner"), ("outsider", "reader"), ("writer", "writer"), ("insider", "reader")):
            KEYS[user] = access.add_key(user)[1]
            access.set_role("school", user, role)
        access.join("school", "hr", "insider")
        yield running


def by(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


def get(served: Served, user: str, path: str) -> tuple[int, Any]:
    return served.send("GET", f"/api/workspaces/school{path}", headers=by(user))[:2]


def post(served: Served, user: str, path: str, given: Any, method: str = "POST") -> tuple[int, Any]:
    return served.send(method, path, given, headers=by(user))[:2]


INSIDERS, OUTSIDERS = ("insider", "owner", "admin"), ("outsider", "writer")


def secret_passage(served: Served) -> str:
    with served.house.opened("school") as here:
        return next(p.id for p in here.material.passages() if p.source == SECRET)


def asked(served: Served, user: str) -> dict[str, str]:
    """Everything that the server tells a user about the workspace, by the request that it came from."""
    place = f"?source={quote(SECRET)}"
    pages = [
        "", "/documents", "/documents?find=" + quote("薪酬"), f"/documents{place}",
        f"/document{place}", f"/document{place}&start=3&end=9",
        f"/page{place}",
        "/questions", "/examples", "/exams", "/exams/before", "/exams/before/answers?assistant=retrieve",
        "/exams/before/report.html", "/exams/before/report.md", "/jobs", "/marks",
        f"/passages?id={secret_passage(served)}",
    ]  # fmt: skip
    told = {page: json.dumps(get(served, user, page)[1], ensure_ascii=False, default=str) for page in pages}
    text = f"How much is {WORD} paid? 羽蛇的月薪"
    turns = [{"role": "user", "content": text}]
    orders: dict[str, Any] = {
        "/api/workspaces/school/search": {"text": text, "k": 50},
        "/api/workspaces/school/ask": {"question": text, "assistant": "retrieve"},
        "/v1/chat/completions": {"model": "retrieve", "messages": turns},
        "/v1/messages": {"model": "retrieve", "messages": turns, "max_tokens": 20},
        "/api/chat": {"model": "retrieve", "messages": turns, "stream": False},
        "/api/generate": {"model": "retrieve", "prompt": text, "stream": False},
    }
    for path, order in orders.items():
        status, body = post(served, user, path, order)
        assert status == 200, (path, body)
        told[path] = json.dumps(body, ensure_ascii=False).replace(json.dumps(text, ensure_ascii=False)[1:-1], "")
    return told


@pytest.mark.parametrize("user", OUTSIDERS)
def test_who_is_not_in_the_group_is_told_nothing_of_it(served: Served, user: str) -> None:
    passage = secret_passage(served)
    for request, said in asked(served, user).items():
        told = said.replace(f"there is no document '{SECRET}'", "")  # their own words, as for any name
        for word in (WORD, "薪酬", "羽蛇", "nine thousand", "九千", "broken.pdf", passage, '"hr"'):
            assert word not in told, (request, word)
    assistant = served.house.assistant(visitor(served, user), "school", "retrieve")
    assert "nine thousand" not in assistant.answer([ask(WORD)])[0].prompt


@pytest.mark.parametrize("user", INSIDERS)
def test_who_is_in_the_group_finds_it_everywhere(served: Served, user: str) -> None:
    told = asked(served, user)
    for request in ("/documents", "/questions", "/api/workspaces/school/search", "/marks", "/exams"):
        assert "人事" in told[request] or "before" in told[request], request
    assert WORD in told[f"/document?source={quote(SECRET)}"]
    assert WORD in told["/api/workspaces/school/search"]
    assert secret_passage(served) in told["/api/workspaces/school/ask"]
    assert "broken.pdf" in told[""]


def visitor(served: Served, user: str) -> Any:
    found = served.house.access.who(served.house, KEYS[user])
    assert found is not None
    return replace(found, workspace="school")


def test_weights_that_learned_it_answer_only_the_group(served: Served) -> None:
    for path, order in (
        ("/api/workspaces/school/ask", {"question": "hi", "assistant": "continue", "max_tokens": 3}),
        ("/api/workspaces/school/open", {"assistant": "continue"}),
        (
            "/v1/chat/completions",
            {"model": "continue", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3},
        ),
    ):
        assert post(served, "outsider", path, order)[0] == 404
        assert post(served, "insider", path, order)[0] in (200, 204)
        clean = {**order, **{key: "clean" for key in ("assistant", "model") if key in order}}
        assert post(served, "outsider", path, clean)[0] in (200, 204), "taught when it was of the group"


def test_what_one_cannot_see_one_cannot_change(served: Served) -> None:
    at = "/api/workspaces/school"
    assert post(served, "writer", f"{at}/documents?source={quote(SECRET)}", None, "DELETE")[0] == 404
    assert post(served, "writer", f"{at}/marks", {"source": SECRET, "pinned": True}, "PUT")[0] == 404
    assert post(served, "writer", f"{at}/marks", {"source": "手册/kiln.md", "group": "hr"}, "PUT")[0] == 403
    assert post(served, "outsider", f"{at}/marks", {"source": "手册/kiln.md", "pinned": True}, "PUT")[0] == 403
    for path in ("/groups", "/members"):
        assert get(served, "writer", path)[0] == 403
    assert post(served, "writer", f"{at}/groups/hr", {"users": ["writer"]}, "PUT")[0] == 403
    with served.house.opened("school") as here:
        assert here.material.document(SECRET)
        here.mark("uploads/private", group="hr")
    status, _, _ = served.send(  # a writer cannot replace, or find out, what lies in a folder of the group
        "POST",
        f"{at}/documents",
        raw=(
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="private/a.md"\r\n'
            b"Content-Type: text/plain\r\n\r\nhello\r\n--x--\r\n"
        ),
        headers={"Content-Type": "multipart/form-data; boundary=x", **by("writer")},
    )
    assert status == 409
    assert not (served.house.folder("school") / "uploads" / "private").exists()


def test_adding_by_others_is_not_told_to_outsiders(served: Served) -> None:
    queue = served.house.queue
    job = queue.add("school", "add", "add 薪酬.md", {"paths": []}, "owner")
    own = queue.add("school", "add", "add 窑.md", {"paths": []}, "outsider")
    at = f"/jobs/{job.id}"
    for path in (at, f"{at}/events", f"{at}/curve"):
        assert get(served, "outsider", path)[0] == 404
        assert "薪酬" not in str(get(served, "outsider", "/jobs")[1])
    assert [one["id"] for one in get(served, "outsider", "/jobs")[1]["data"]] == [own.id]
    for _ in range(3):
        queue.add("school", "add", "add 薪酬.md", {"paths": []}, "owner")
    page = get(served, "outsider", "/jobs?limit=1")[1]
    assert ([one["id"] for one in page["data"]], page["has_more"]) == ([own.id], False), "nothing hidden is counted"
    assert get(served, "owner", at)[0] == 200
    for path in ("cancel", "pause", "resume"):
        assert post(served, "writer", f"/api/workspaces/school{at}/{path}", None)[0] == 404
    for one in (job, own):
        queue.wish(one, "cancel")


def test_a_filter_at_every_door_that_asks(served: Served) -> None:
    at = "/api/workspaces/school"
    made = post(served, "writer", f"{at}/marks", {"source": "手册/kiln.md", "tags": ["火", "kiln"]}, "PUT")
    assert made == (200, {"source": "手册/kiln.md", "pinned": False, "tags": ["kiln", "火"], "group": ""})
    kiln = {"tags": ["kiln"], "folder": "手册", "kind": "md"}
    hits = post(served, "owner", f"{at}/search", {"text": WORD, "within": kiln})[1]["hits"]
    assert {hit["source"] for hit in hits} == {"手册/kiln.md"}
    assert post(served, "owner", f"{at}/search", {"text": WORD, "within": {"kind": "pdf"}})[1]["hits"] == []
    (row,) = get(served, "owner", "/documents?kind=md&tag=kiln&folder=" + quote("手册"))[1]["data"]
    assert (row["source"], row["tags"], row["group"], row["pinned"]) == ("手册/kiln.md", ["kiln", "火"], "", False)
    question = {"question": WORD, "assistant": "retrieve", "within": kiln}
    status, answer = post(served, "owner", f"{at}/ask", question)
    assert status == 200
    assert secret_passage(served) not in answer["retrieved"]
    assert secret_passage(served) in post(served, "owner", f"{at}/ask", {**question, "within": None})[1]["retrieved"]
    chat = {"model": "bare", "messages": [{"role": "user", "content": "x"}], "within": kiln}
    for path, order in (("/v1/chat/completions", chat), (f"{at}/ask", {**question, "assistant": "bare"})):
        status, refused = post(served, "owner", path, order)
        assert status == 400
        assert "has no library" in str(refused)
    assert post(served, "owner", "/v1/chat/completions", {**chat, "model": "retrieve"})[0] == 200
    assert post(served, "owner", f"{at}/search", {"text": WORD, "within": {"tag": "x"}})[0] in (200, 422)


def test_an_exam_that_quotes_stands_in_the_way(served: Served) -> None:
    path = f"/api/workspaces/school/documents?source={quote(SECRET)}"
    status, refused = post(served, "owner", path, None, "DELETE")
    assert (status, refused["error"]["code"]) == (409, "quoted_by_exams")
    assert "before" in refused["error"]["message"]
    with served.house.opened("school") as here:
        assert here.material.document(SECRET)
        assert here.exams() == ["before", "after"]


def test_groups_are_given_and_taken_at_once(served: Served) -> None:
    at = "/api/workspaces/school"
    access = served.house.access
    assert get(served, "owner", "/groups") == (200, {"hr": ["insider"]})
    assert post(served, "owner", f"{at}/groups/hr", {"users": ["insider", "outsider"]}, "PUT")[0] == 204
    assert get(served, "outsider", f"/document?source={quote(SECRET)}")[0] == 200
    assert post(served, "owner", f"{at}/groups/hr", {"users": ["insider"]}, "PUT")[0] == 204
    assert get(served, "outsider", f"/document?source={quote(SECRET)}")[0] == 404
    assert post(served, "owner", f"{at}/groups/hr", {"users": ["nobody"]}, "PUT")[0] == 400
    assert access.grouped("school") == {"hr": ["insider"]}, "a refused change changes nothing"
    access.add_key("guest")
    access.set_role("school", "guest", "reader")
    access.join("school", "hr", "guest")
    access.set_role("school", "guest", None)
    assert access.grouped("school") == {"hr": ["insider"]}, "with the role goes the group"


def test_no_endpoint_gives_an_assistant_without_its_visitor() -> None:
    """`_opened` is the only way around; nothing outside the house takes it."""
    from shuyuan.base.shelf import HOUSE

    users = [path.name for path in (HOUSE / "serve").glob("*.py") if "._opened(" in path.read_text(encoding="utf-8")]
    assert users == ["house.py"]
    assert len(all_routes()) > 60


def test_a_server_of_an_older_version_gets_the_table(tmp_path: Path) -> None:
    state = State(tmp_path / ".serve")
    with state.change() as db:
        db.execute("insert into users values ('a', 0, 1)")
        db.execute("drop table in_groups")
        db.execute("pragma user_version = 1")
    again = State(tmp_path / ".serve")
    assert again.rows("select * from in_groups") == []
    assert again.row("select name from users") == {"name": "a"}


def test_a_key_is_made_with_groups(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "house"
    shutil.copytree(root, folder, ignore=shutil.ignore_patterns(".serve"))
    at = ["-w", str(folder)]
    assert main(["key", "new", "root", "--admin", *at]) == 0
    assert main(["key", "new", "eve", "--member", "school=reader", "--group", "school=hr", *at]) == 0
    secret = capsys.readouterr().out.split()[-1]
    assert main(["key", "new", "bob", "--group", "school=hr", *at]) == 1
    assert "has no role in 'school'" in capsys.readouterr().err
    house = House(folder)
    eve = house.access.who(house, secret)
    assert eve is not None
    assert open_access(folder).groups(eve, "school") == frozenset({"hr"})
