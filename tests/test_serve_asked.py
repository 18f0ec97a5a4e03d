"""Questions others ask, over a real connection: kept at every door, private until published, gone with a document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from serving import Served, serving, tiny_school
from test_recall import Extracts

from shuyuan.base.records import Answer
from shuyuan.base.workspace import Workspace
from shuyuan.recall.citing import sentences
from shuyuan.recall.ground import Ground
from shuyuan.recall.grounded import GroundedAssistant
from shuyuan.store.words import terms
from shuyuan.teach.teaching import open_assistant, teach

ASKED = "/api/workspaces/school/asked"
QUESTION = "山长什么时候上任？"
KEYS: dict[str, str] = {}


class Quotes(Extracts):
    """Answers with the sentence of its prompt that shares most terms with the question, or that there is none."""

    def _one(self, prompt: str) -> Answer:
        *above, question = prompt.split("\n\n")
        asked = set(terms(question))
        parts = [block[start:end] for block in above[1:-1] for start, end in sentences(block)]
        best = max(parts, key=lambda part: len(asked & set(terms(part))))
        return Answer(best if len(asked & set(terms(best))) > 2 else "资料中没有答案。", answer_tokens=5)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with keys for a reader, a writer and an owner; its library is real, and what it finds is quoted."""
    at = tmp_path_factory.mktemp("asked")
    for name in ("school", "other"):
        teach(tiny_school(at, name), "retrieve", {"threshold": -1.0})
    opened = open_assistant(Workspace.open(at / "house" / "school"), "retrieve")
    assert isinstance(opened, GroundedAssistant)
    library = opened.library
    with serving(at / "house") as running:
        quoting = GroundedAssistant("retrieve", Quotes(), library, Ground(threshold=-1.0))
        running.house.assistant = lambda *_: quoting  # type: ignore[method-assign]
        access = running.house.access
        KEYS["admin"] = access.add_key("root", admin=True)[1]
        for role in ("reader", "writer", "owner"):
            KEYS[role] = access.add_key(role)[1]
            access.set_role("school", role, role)
        KEYS["reading owner"] = access.add_key("owner", ["read", "ask"])[1]
        KEYS["stranger"] = access.add_key("stranger")[1]
        access.set_role("other", "stranger", "owner")
        yield running


def send(served: Served, method: str, path: str, by: str, given: Any = None) -> tuple[int, Any]:
    status, body, _ = served.send(method, path, given, headers={"Authorization": f"Bearer {KEYS[by]}"})
    return status, body


def listed(served: Served, by: str = "writer", query: str = "") -> list[dict[str, Any]]:
    status, body = send(served, "GET", f"{ASKED}{query}", by)
    assert status == 200, body
    return list(body["data"])


@pytest.fixture
def answered(served: Served) -> str:
    """The id of a question that a reader asked, and nobody has published."""
    for one in listed(served):
        assert send(served, "DELETE", f"{ASKED}/{one['id']}", "writer")[0] == 204
    asked = {"question": QUESTION, "assistant": "retrieve"}
    status, said = send(served, "POST", "/api/workspaces/school/ask", "reader", asked)
    assert status == 200
    assert said["text"] == "山长每年正月初八上任。"
    (one,) = listed(served)
    return str(one["id"])


def test_a_question_is_private_until_it_is_published(served: Served, answered: str) -> None:
    for by in ("reader", "reading owner"):
        assert listed(served, by) == []
        assert send(served, "GET", f"{ASKED}/{answered}", by)[0] == 404
    assert send(served, "PUT", f"{ASKED}/{answered}", "reader", {"public": True})[0] == 403
    assert send(served, "DELETE", f"{ASKED}/{answered}", "reader")[0] == 403
    assert send(served, "GET", f"{ASKED}/{answered}", "stranger")[0] == 404
    other = f"/api/workspaces/other/asked/{answered}"
    assert send(served, "GET", other, "stranger")[0] == send(served, "DELETE", other, "stranger")[0] == 404
    assert send(served, "PUT", f"{ASKED}/{answered}", "writer", {"public": True})[0] == 204
    (one,) = listed(served, "reader")
    assert (one["question"], one["times"], one["public"], one["state"]) == (QUESTION, 1, True, "answered")
    status, page = send(served, "GET", f"{ASKED}/{answered}", "reader")
    assert status == 200
    assert (page["text"], page["assistant"], page["wordings"]) == ("山长每年正月初八上任。", "retrieve", [QUESTION])
    (place,) = page["references"]
    assert place["quote"] == "山长每年正月初八上任。"
    assert place["before"] == "# 书院\n\n"
    assert place["after"].startswith("\n\nThe library")
    assert place["headings"] == ["书院"]
    assert place["supports"] == [[0, len(page["text"])]]
    span = f"source=%E6%89%8B%E5%86%8C/%E4%B9%A6%E9%99%A2.md&start={place['start']}&end={place['end']}"
    assert send(served, "GET", f"/api/workspaces/school/document?{span}", "reader")[1]["text"] == place["quote"]
    assert send(served, "PUT", f"{ASKED}/{answered}", "writer", {"public": False})[0] == 204
    assert listed(served, "reader") == []


def test_every_door_keeps_what_it_is_asked_once(served: Served, answered: str) -> None:
    turns = [{"role": "user", "content": QUESTION}]
    for path, given in (
        ("/v1/chat/completions", {"model": "retrieve", "messages": turns}),
        ("/v1/chat/completions", {"model": "retrieve", "messages": turns, "stream": True, "n": 2}),
        ("/v1/messages", {"model": "retrieve", "messages": turns, "max_tokens": 9}),
        ("/api/chat", {"model": "retrieve", "messages": turns, "stream": False}),
        ("/api/generate", {"model": "retrieve", "prompt": QUESTION}),
        ("/api/workspaces/school/ask", {"question": QUESTION, "assistant": "retrieve", "stream": True}),
    ):
        before = listed(served)[0]["times"]
        assert send(served, "POST", path, "reader", given)[0] == 200
        (one,) = listed(served)
        assert (one["id"], one["times"]) == (answered, before + 1), path
    given = {"model": "retrieve", "messages": turns, "store": False}
    assert send(served, "POST", "/v1/chat/completions", "reader", given)[0] == 200
    assert listed(served)[0]["times"] == before + 1, "who says so is not counted"
    assert send(served, "GET", "/api/workspaces/other/asked", "stranger")[1]["total"] == 0


def test_what_others_asked_comes_with_an_answer_where_it_may_be_seen(served: Served, answered: str) -> None:
    again = {"question": "新山长在什么时候上任？", "assistant": "retrieve"}
    assert send(served, "POST", "/api/workspaces/school/ask", "reader", again)[1]["related"] == [], "it is the same one"
    (one,) = listed(served)
    assert (one["id"], one["times"]) == (answered, 2)
    send(served, "PUT", f"{ASKED}/{answered}", "writer", {"public": True})
    for by, wordings in (("reader", [QUESTION]), ("writer", [QUESTION, again["question"]])):
        assert send(served, "GET", f"{ASKED}/{answered}", by)[1]["wordings"] == wordings
    send(served, "PUT", f"{ASKED}/{answered}", "writer", {"public": False})
    asked = {"question": "When does the 山长 take office?", "assistant": "retrieve"}
    assert send(served, "POST", "/api/workspaces/school/ask", "reader", asked)[1]["related"] == []
    near = send(served, "POST", "/api/workspaces/school/ask", "writer", asked)[1]["related"]
    assert near == [{"id": answered, "question": QUESTION, "last": one["last"]}]
    send(served, "PUT", f"{ASKED}/{answered}", "writer", {"public": True})
    assert send(served, "POST", "/api/workspaces/school/ask", "reader", asked)[1]["related"] == near
    _, page = send(served, "GET", f"{ASKED}/{answered}", "reader")
    assert page["related"] == [], "the other one is no page"


def test_unanswered_ones_say_what_the_documents_lack(served: Served, answered: str) -> None:
    asked = {"question": "Ｗho built the bridge? 🌉", "assistant": "retrieve"}
    assert send(served, "POST", "/api/workspaces/school/ask", "reader", asked)[1]["refused"]
    (one,) = listed(served, query="?state=unanswered")
    assert (one["question"], one["answer"], one["assistant"]) == ("Ｗho built the bridge? 🌉", "", "")
    assert [row["id"] for row in listed(served, query="?find=who%20%F0%9F%8C%89")] == [one["id"]]
    assert [row["id"] for row in listed(served, query="?find=%E6%AD%A3%E6%9C%88")] == [answered]
    status, told = send(served, "PUT", f"{ASKED}/{one['id']}", "writer", {"public": True})
    assert (status, told["error"]["hint"]) == (400, "ask it again first")
    body = send(served, "GET", f"{ASKED}?limit=1&skip=1&order=most", "writer")[1]
    assert (len(body["data"]), body["total"], body["may_write"], body["may_choose"]) == (1, 2, True, False)


def test_the_owner_chooses_what_is_kept(served: Served, answered: str) -> None:
    assert send(served, "PUT", ASKED, "writer", {"keeping": "off"})[0] == 403
    for wrong in ({"keeping": "everything"}, {}, {"keeping": None}):
        assert send(served, "PUT", ASKED, "owner", wrong)[0] == 422
    assert send(served, "PUT", ASKED, "owner", {"keeping": "off"})[0] == 204
    asked = {"question": QUESTION, "assistant": "retrieve"}
    send(served, "POST", "/api/workspaces/school/ask", "reader", asked)
    assert listed(served)[0]["times"] == 1
    assert send(served, "PUT", ASKED, "owner", {"keeping": "public"})[0] == 204
    send(served, "POST", "/api/workspaces/school/ask", "reader", asked)
    assert [row["id"] for row in listed(served, "reader")] == [answered]
    assert send(served, "PUT", ASKED, "owner", {"keeping": "private"})[0] == 204


def test_odd_ids_and_values_are_refused(served: Served, answered: str) -> None:
    for name in ("nothing", "%00", "..%2f", "%F0%9F%8E%93", "q" * 3000, "' or 1=1 --".replace(" ", "%20")):
        for method in ("GET", "DELETE"):
            assert send(served, method, f"{ASKED}/{name}", "admin")[0] in (404, 414), (method, name)
    for query in ("?limit=0", "?limit=1001", "?skip=-1", "?order=worst", "?state=none", f"?find={'x' * 201}"):
        assert send(served, "GET", f"{ASKED}{query}", "admin")[0] == 422, query
    for wrong in ({"public": "yes"}, {"public": 1}, {}):
        assert send(served, "PUT", f"{ASKED}/{answered}", "admin", wrong)[0] == 422
    assert listed(served, query="?find=%22%25_")[:1] == []


def test_the_audit_log_tells_who_published_and_never_what(served: Served, answered: str) -> None:
    send(served, "PUT", f"{ASKED}/{answered}", "writer", {"public": True})
    lines = send(served, "GET", "/api/audit", "admin")[1]
    done = [(line["user"], line["route"], line["status"]) for line in lines]
    assert ("writer", "/api/workspaces/{workspace}/asked/{question}", 204) in done
    assert QUESTION not in json.dumps(lines, ensure_ascii=False)


def test_nothing_of_a_removed_document_remains(served: Served, answered: str) -> None:
    send(served, "PUT", f"{ASKED}/{answered}", "writer", {"public": True})
    source = "%E6%89%8B%E5%86%8C/%E4%B9%A6%E9%99%A2.md"
    assert send(served, "DELETE", f"/api/workspaces/school/documents?source={source}", "writer")[0] == 204
    assert listed(served, "reader") == []
    _, page = send(served, "GET", f"{ASKED}/{answered}", "writer")
    assert (page["state"], page["text"], page["answer"], page["references"]) == ("withdrawn", "", "", [])
    asked = {"question": QUESTION, "assistant": "retrieve"}
    cited = send(served, "POST", "/api/workspaces/school/ask", "reader", asked)[1]["citations"]
    assert not any(one["source"] == "手册/书院.md" for one in cited), "not even by a library from before"
    (one,) = listed(served)
    assert (one["state"], one["answer"], one["times"]) == ("withdrawn", "", 2), "is not believed"
