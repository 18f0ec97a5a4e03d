"""Contexts that a model writes for passages: searched by meaning and by words, never shown, written once, resumable."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from test_recall import HashedTerms, passages
from test_recall_search import asked, shelves
from tiny import tiny_embedder, tiny_folder

from shuyuan.base.errors import Fixable
from shuyuan.base.records import GREEDY, Answer, Conversation, Decoding, Lessons, Passage, Run
from shuyuan.base.shelf import choices
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.cli.main import main
from shuyuan.examine.tuning import gain, usable
from shuyuan.prepare.adding import add
from shuyuan.recall.contexts import contextual, estimate, prune_contexts
from shuyuan.recall.fuse import Fuse
from shuyuan.recall.grounded import GroundedAssistant
from shuyuan.recall.searching import Library
from shuyuan.store.contract import content_hash
from shuyuan.teach.retrieve import Retrieve
from shuyuan.teach.teaching import teach


class Writes:
    """A model that writes of each passage which page it stands on, in the page's own script."""

    name = "writes"

    def __init__(self) -> None:
        self.prompts: list[str] = []

    def nats(self, texts: Sequence[str]) -> list[float]:
        return [0.0 for _ in texts]

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding = GREEDY) -> list[Answer]:
        prompts = [conversation[-1].content for conversation in conversations]
        self.prompts += prompts
        numbers = [re.search(r"(?:doc|guide/|手册/)(\w+)\.md", prompt) for prompt in prompts]
        return [Answer(f"  topic{found[1] if found else ''} 专题🎉\nof it\n\nmore") for found in numbers]


def many(count: int) -> list[Passage]:
    texts = [f"The limit is {n} days. 期限为{n}天。" for n in range(count)]
    return [Passage(f"p{n}", f"d{n}", f"doc{n}.md", 0, len(text), text) for n, text in enumerate(texts)]


@pytest.mark.parametrize("store", choices("store"))
def test_a_context_is_searched_in_both_legs_and_never_shown(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDRANT_URL", ":memory:")
    written = contextual(many(30), Writes(), tmp_path / "cache")
    assert written[7].context == "topic7 专题🎉 of it"
    assert written[7].searchable == "doc7.md\ntopic7 专题🎉 of it\nThe limit is 7 days. 期限为7天。"
    library = Library.build(tmp_path / "library", written, HashedTerms(), tmp_path / "cache", store=store)
    for weight in (0.0, 1.0):  # by meaning alone, by words alone
        library.fuse = Fuse(word_weight=weight)
        (hit,) = library.search("topic7", 1)
        assert hit.passage == many(30)[7], "as it stands in its document"
    again = Library.open(library.folder, HashedTerms())
    assert content_hash(again._index) == content_hash(library._index)
    plain = Library.build(tmp_path / "library", many(30), HashedTerms(), tmp_path / "cache", store=store)
    plain.fuse = Fuse(word_weight=1.0)
    assert plain.search("topic7", 1) == [], "built without, nothing of them is left"


def test_the_model_reads_the_passage_and_how_its_document_begins(tmp_path: Path) -> None:
    model = Writes()
    whole = [
        Passage("b", "d", "手册/a.md", 900, 920, "第二段讲窑温。", ("窑",)),
        Passage("a", "d", "手册/a.md", 0, 800, "开头讲书院。", ()),
        Passage("z", "e", "guide/z.md", 0, 4000, "word " * 800, ()),
    ]
    contextual(whole, model, tmp_path)
    assert "手册/a.md > 窑" in model.prompts[0]
    assert model.prompts[0].index("开头讲书院。") < model.prompts[0].rindex("第二段讲窑温。")
    assert model.prompts[0].endswith("用一句短话说明这一段讲的是文档里的什么主题。")
    assert "Say in one short sentence" in model.prompts[2]
    assert contextual([], model, tmp_path) == []


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_recall_contexts import Writes, many
from shuyuan.recall.contexts import contextual
class Dies(Writes):
    def answer(self, conversations, decoding=None):
        if len(self.prompts) >= 48:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().answer(conversations)
contextual(many(100), Dies(), Path(sys.argv[2]))
"""


def test_killed_writing_goes_on_and_writes_nothing_twice(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, Path(__file__).parent, tmp_path], check=False)
    assert killed.returncode == -signal.SIGKILL
    model = Writes()
    written = contextual(many(100), model, tmp_path)
    assert len(model.prompts) == 52
    assert written == contextual(many(100), Writes(), tmp_path / "straight")
    again = Writes()
    assert contextual(many(100), again, tmp_path) == written
    assert again.prompts == []
    changed = [replace(one, text=f"{one.text}!") if one.id == "p5" else one for one in many(100)]
    contextual(changed, again, tmp_path)
    assert len(again.prompts) == 1
    other = Writes()
    other.name = "other"  # type: ignore[misc]
    contextual(many(3), other, tmp_path)
    assert len(other.prompts) == 3, "another assistant writes its own"


def test_the_cost_is_told_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Writes()
    cost = estimate(many(40), model, tmp_path)
    assert len(model.prompts) == 16
    assert (cost.passages, cost.written_tokens) == (24, 24 * 60)
    assert 24 * 30 < cost.read_tokens < 24 * 100
    contextual(many(40), model, tmp_path)
    assert "contexts of 8 passages are missing" in capsys.readouterr().err, "sixteen more were written meanwhile"
    assert len(model.prompts) == 40
    assert estimate(many(40), model, tmp_path).passages == 0


def test_a_removed_passage_takes_its_context_along(tmp_path: Path) -> None:
    contextual(many(20), Writes(), tmp_path)
    prune_contexts(tmp_path, {f"p{n}" for n in range(20) if n != 17})
    held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"topic17" not in held
    assert b"topic16" in held
    prune_contexts(tmp_path / "nothing", set())


def test_the_gain_is_measured_and_not_taken_for_granted(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "school")
    plain = shelves(workspace, 40)
    plain.fuse = Fuse(word_weight=1.0)
    cache = workspace.folder / "cache"
    written = contextual(workspace.material.passages(), Writes(), cache)
    trial = Library.build(tmp_path / "trial", written, plain._embedder, cache, store="memory", fuse=plain.fuse)
    helped, _ = usable(workspace.material, asked(40, lambda n: f"what of topic{n}?"))
    found = gain(plain, trial, helped, {})
    assert found.proven
    assert found.after["recall@1"] > found.before["recall@1"]
    same = gain(plain, plain, helped, {})
    assert not same.proven
    assert same.before == same.after
    with pytest.raises(Fixable, match="9 facts are too few"):
        usable(workspace.material, asked(9, lambda n: f"topic{n}"))


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "手册"
    folder.mkdir()
    rows = []
    for n in range(12):
        (folder / f"{n}.md").write_text(f"# Page {n}\n\nThe limit of kiln {n} is {n + 3} days. 第{n}窑。\n", "utf-8")
        evidence = f"The limit of kiln {n} is {n + 3} days."
        rows.append({"question": f"limit of kiln {n}?", "answer": f"{n + 3} days", "source": f"手册/{n}.md"})
        rows[-1] |= {"evidence": evidence, "use": "exam", "fact": f"f{n}"}
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    model, embedder = tiny_folder(tmp_path / "model"), tiny_embedder(tmp_path / "embedder")
    workspace = Workspace.create(tmp_path / "school", Choices(model=str(model), embedder=str(embedder)))
    add(workspace, [folder])
    at = ["-w", str(workspace.folder)]
    assert main(["tune", "context", *at]) == 1
    assert "'retrieve' has no library" in capsys.readouterr().err
    teach(workspace, "retrieve", {"threshold": -1.0})
    assert main(["tune", "context", "--json", *at]) == 0
    assert json.loads(capsys.readouterr().out)["passages"] == 0, "twelve are fewer than the sixteen that are tried"
    assert main(["tune", "context", str(tmp_path / "asked.jsonl"), *at]) == 0
    shown = capsys.readouterr().out
    assert "12 questions on 12 facts" in shown
    assert "with minus without: " in shown
    assert ("better: " in shown) != ("no gain is proven" in shown)
    assert not (workspace.folder / "cache" / "contexts").exists()
    with sqlite3.connect(workspace.folder / "cache" / "contexts.sqlite") as db:
        before = db.execute("select count(*), sum(length(text)) from contexts").fetchone()
        assert before[0] == 12
    assert main(["teach", "retrieve", "--context", "--threshold=-1", "--again", *at]) == 0
    with sqlite3.connect(workspace.folder / "cache" / "contexts.sqlite") as db:
        assert db.execute("select count(*), sum(length(text)) from contexts").fetchone() == before
    assert main(["tune", "context", *at]) == 1
    assert "has contexts already" in capsys.readouterr().err


def test_the_route_builds_its_library_with_contexts(tmp_path: Path) -> None:
    embedder = str(tiny_embedder(tmp_path / "embedder"))
    run = Run("retrieve", tmp_path / "runs" / "retrieve", tmp_path / "cache", embedder=embedder)
    taught = Retrieve(context=True, store="memory").teach(Writes(), Lessons(passages=many(3)), run)
    assert isinstance(taught, GroundedAssistant)
    held = [passage.context for passages, _ in taught.library._index.export() for passage in passages]
    assert held == [f"topic{n} 专题🎉 of it" for n in range(3)]


def test_old_records_have_no_context() -> None:
    (row,) = passages()[:1]
    kept = {name: getattr(row, name) for name in row.__slots__ if name != "context"}
    assert Passage.of({**kept, "boxes": ()}) == row
