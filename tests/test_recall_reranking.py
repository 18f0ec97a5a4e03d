"""Ranking again: trained for real on tiny networks, kept only when it is proven to help, refused when damaged."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from conftest import SHUYUAN
from safetensors.torch import load_file, save_file
from test_recall import passages
from tiny import tiny_embedder, tiny_folder

from shuyuan.base.errors import Fixable
from shuyuan.base.material import File
from shuyuan.base.records import Document, Passage, Question
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.cli.main import main
from shuyuan.examine.reranking import by_heading, rerank
from shuyuan.load.embedder import Embedder, open_embedder
from shuyuan.load.together import Joint
from shuyuan.prepare.adding import add
from shuyuan.recall import keeping
from shuyuan.recall.fuse import Fuse
from shuyuan.recall.learning import MOST, Lesson, learn, teaching
from shuyuan.recall.reranking import FIRST, Reranker, begun
from shuyuan.recall.searching import Library
from shuyuan.recall.state import RERANKER, state_of
from shuyuan.store.contract import Vectors
from shuyuan.teach.teaching import teach

QUESTIONS = ["default rank?", "默认的秩是多少？", "ＬｏＲＡ　ｒａｎｋ？", "rank 🎓🔥?", "", "?!"]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    return open_embedder(str(tiny_embedder(tmp_path_factory.mktemp("embedder"))))


def lessons(count: int, of: str = "page") -> list[Lesson]:
    """What answers is written in digits, what does not in letters: no evidence says so, it must be learned."""
    found = []
    for n in range(count):
        wrong = [f"{of} {chr(ord('a') + (n + step) % 26) * 6}" for step in (3, 7, 11)]
        found.append(Lesson(f"find {of} 第{n}🎓", (*wrong[:2], f"{of} {n % 10}{n % 7}{n % 3}{n % 10}", wrong[2]), (2,)))
    return found


def library(folder: Path, embedder: Embedder) -> Library:
    return Library.build(folder / "library", passages(), embedder, folder / "cache", store="memory")


# the reranker itself


def test_before_training_it_ranks_by_evidence_and_place(embedder: Embedder) -> None:
    texts = [p.searchable for p in passages()]
    plain, fresh = Reranker(embedder), Reranker(embedder, Joint(embedder))
    for question in QUESTIONS:
        (asked,), seen = plain.read([question], "query"), plain.read(texts, "passage")
        scores = plain.scores(asked, seen)
        assert np.array_equal(scores, begun(asked, seen, range(len(texts))))
        (again,) = fresh.read([question], "query")
        assert np.allclose(fresh.scores(again, fresh.read(texts, "passage")), scores, atol=1e-3)
        assert sorted(plain.ranked(question, texts)) == list(range(len(texts)))
    assert plain.ranked("x", []) == []
    many = [f"text {n}" for n in range(FIRST + 5)]
    assert plain.ranked("text 3", many)[FIRST:] == list(range(FIRST, FIRST + 5)), "the rest stays as it was found"


def test_a_passage_scores_the_same_in_any_company(embedder: Embedder) -> None:
    torch.manual_seed(1)
    joint = Joint(embedder)
    torch.nn.init.normal_(joint.worth.weight)
    reranker = Reranker(embedder, joint)
    (asked,) = reranker.read(["which rank 秩🎓?"], "query")
    seen = reranker.read(
        ["short", "a far longer passage " * 5, "秩", "🎓 ｆｕｌｌ", *(f"text {n}" for n in range(9))], "passage"
    )
    below = [one.below for one in seen if one.below is not None]
    assert asked.below is not None
    together = joint.scores(asked.below, below)
    alone = [joint.scores(asked.below, [one])[0] for one in below]
    assert together == pytest.approx(alone, abs=1e-4)
    (other,) = reranker.read(["another question"], "query")
    assert other.below is not None
    assert joint.scores(other.below, below) != pytest.approx(together, abs=1e-4), "the question is read, too"


def test_training_learns_and_is_the_same_again(embedder: Embedder, capsys: pytest.CaptureFixture[str]) -> None:
    before = [weight.clone() for weight in embedder.net.parameters()]
    taught = lessons(160)
    assert teaching([*taught, Lesson("nothing right", ("a", "b"), ()), Lesson("nothing wrong", ("a",), (0,))]) == taught
    assert len(teaching(lessons(MOST + 9))) == MOST
    one, same, other = learn(embedder, taught), learn(embedder, taught), learn(embedder, taught, seed=1)
    assert "training will take about" in capsys.readouterr().err
    assert all(torch.equal(a, b) for a, b in zip(before, embedder.net.parameters(), strict=True)), "it is left alone"
    assert one.joint is not None
    assert same.joint is not None
    assert other.joint is not None
    assert all(torch.equal(a, b) for a, b in zip(one.joint.parameters(), same.joint.parameters(), strict=True))
    assert not torch.equal(one.joint.worth.weight, other.joint.worth.weight)
    fresh = Joint(embedder)
    moved = [not torch.equal(a, b) for a, b in zip(one.joint.parameters(), fresh.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2
    fresh_ones = lessons(20, of="sheet")
    assert _loss(one, fresh_ones) < _loss(Reranker(embedder), fresh_ones) - 0.02


def _loss(reranker: Reranker, of: list[Lesson]) -> float:
    found = []
    for lesson in of:
        (asked,) = reranker.read([lesson.question], "query")
        scores = reranker.scores(asked, reranker.read(lesson.texts, "passage"))
        found.append(np.log(np.exp(scores - scores.max()).sum()) - scores[lesson.right[0]] + scores.max())
    return float(np.mean(found))


def test_an_embedder_of_another_form_is_refused() -> None:
    class Foreign:
        name, net = "foreign", torch.nn.Linear(2, 2)

    with pytest.raises(Fixable, match="no layers that could read two texts together"):
        Joint(Foreign())  # type: ignore[arg-type]


# kept with a library


def test_it_is_kept_with_the_library_and_ranks_there(tmp_path: Path, embedder: Embedder) -> None:
    found = library(tmp_path, embedder)
    near = {text: found.nearness(text, found.search(text, 4)) for text in QUESTIONS}
    plain = {text: [hit.passage.id for hit in found.search(text, 4)] for text in QUESTIONS}
    thresholds = dict(found.state.thresholds)
    trained = learn(embedder, lessons(40))
    for reranker in (Reranker(embedder), trained):
        found.rank_again(reranker)
        opened = Library.open(found.folder, embedder)
        assert (found.folder / RERANKER).exists() == (reranker is trained)
        for text in QUESTIONS:
            hits, texts = opened.search(text, 4), [p.searchable for p in opened.passages(plain[text])]
            assert [hit.passage.id for hit in hits] == [plain[text][row] for row in reranker.ranked(text, texts)]
            assert opened.nearness(text, hits) == near[text], "what is near enough is not changed by it"
            assert opened.search(text, 1) == hits[:1]
        assert opened.state.thresholds == thresholds
        opened.search_together(["default rank", "秩"], 3)
    keeping.move(found.folder, "sqlite")
    again = Library.build(found.folder, [*passages(), _more()], embedder, tmp_path / "cache")
    assert again.state.reranker == "trained", "kept when moved, and when built again"
    assert again.reranker is not None
    keeping.forget(found.folder, ["more"])
    assert state_of(found.folder).reranker == "trained"
    again.rank_again(None)
    assert not (found.folder / RERANKER).exists()
    assert [hit.passage.id for hit in again.search(QUESTIONS[1], 4)] == plain[QUESTIONS[1]]


def _more() -> Passage:
    return Passage("more", "more", "more.md", 0, 4, "more")


def test_another_embedder_leaves_it_out_and_says_so(
    tmp_path: Path, embedder: Embedder, capsys: pytest.CaptureFixture[str]
) -> None:
    found = library(tmp_path, embedder)
    found.rank_again(learn(embedder, lessons(8)))
    other = open_embedder(str(tiny_embedder(tmp_path / "other")))
    built = Library.build(found.folder, passages(), other, tmp_path / "cache")
    assert "the reranker was made for another embedder" in capsys.readouterr().err
    assert built.state.reranker == ""
    assert not (found.folder / RERANKER).exists()
    assert built.search("default rank of LoRA", 1)


@pytest.mark.parametrize("harm", ["cut", "missing", "foreign", "shape", "nan", "pickle", "unknown"])
def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path, embedder: Embedder, harm: str) -> None:
    found = library(tmp_path, embedder)
    found.rank_again(learn(embedder, lessons(8)))
    file = found.folder / RERANKER
    said = {"format": "pt", "embedder": embedder.name, "reranker": "1"}
    weights = {name: weight.clone() for name, weight in load_file(file).items()}
    if harm == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif harm == "missing":
        file.unlink()
    elif harm == "foreign":
        save_file(weights, file, metadata=said | {"embedder": "another"})
    elif harm == "shape":
        save_file(weights | {"worth.weight": torch.zeros(1, 5)}, file, metadata=said)
    elif harm == "nan":
        save_file(weights | {"worth.bias": torch.tensor([float("nan")])}, file, metadata=said)
    elif harm == "pickle":
        torch.save(weights, file)
    else:
        text = (found.folder / "library.json").read_text("utf-8")
        (found.folder / "library.json").write_text(text.replace('"trained"', '"by magic"'), "utf-8")
    opened = Library.open(found.folder, embedder)
    with pytest.raises(Fixable) as refused:
        opened.search("rank", 1)
    assert "reranker" in str(refused.value)
    assert "shuyuan tune rerank" in refused.value.hint
    opened.rank_again(None)
    assert opened.search("rank", 1)


# the command


def school(tmp_path: Path, count: int) -> tuple[Workspace, Path]:
    """Pages in two languages with two sections each, and questions on them; the tiny embedder knows letters only."""
    folder, rows = tmp_path / "手册", []
    folder.mkdir()
    for n in range(count):
        word = "".join(chr(ord("a") + (n * 7 + step * (n % 5 + 1)) % 26) for step in range(5))
        first, second = f"The limit of {word} is {n + 3} days 🎓.", f"{word} 的期限为{n}天。"
        filler = "More words stand here so that the section is a passage of its own. " * 12
        titles = {f"# Page {word}": "", f"## Limit of {word}": first, f"## {word} 的期限": second}
        parts = [f"{title}\n\n{says} {filler}\n" for title, says in titles.items()]
        (folder / f"{n}.md").write_text("\n".join(parts), "utf-8")
        for question, evidence in ((f"limit of {word}?", first), (f"{word}　的期限？", second)):
            rows.append({"question": question, "answer": "x", "source": f"手册/{n}.md", "evidence": evidence})
            rows[-1] |= {"use": "exam", "fact": f"f{n}"}
    asked = tmp_path / "asked.jsonl"
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    model, embedder = tiny_folder(tmp_path / "model"), tiny_embedder(tmp_path / "embedder")
    workspace = Workspace.create(tmp_path / "school", Choices(model=str(model), embedder=str(embedder)))
    add(workspace, [folder])
    return workspace, asked


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace, asked = school(tmp_path, 40)
    at = ["-w", str(workspace.folder)]
    assert main(["tune", "rerank", *at]) == 1
    assert "no finished library" in capsys.readouterr().err
    teach(workspace, "retrieve", {"threshold": -1.0})
    folder = workspace.run("retrieve").folder / "library"
    for files in ([str(asked)], []):
        assert main(["tune", "rerank", "--json", *files, *at]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["by"] == ("questions" if files else "headings")
        assert set(found["checked"]) == {"", "tokens", "trained"}
        assert found["learned"] > 5
        low = found["held_out"]["low"]
        proven = low is not None and low > 0 and found["checked"][found["best"]] > found["checked"][""]
        assert found["chosen"] == (found["best"] if proven else "")
        assert state_of(folder).reranker == found["chosen"]
        assert (folder / RERANKER).exists() == (found["chosen"] == "trained")
        assert not (workspace.folder / "cache" / "reranking").exists()
    assert main(["tune", "rerank", str(asked), *at]) == 0
    shown = capsys.readouterr().out
    assert "held-out: gain " in shown
    assert ("chosen, and used from now on" in shown) != ("the ranking is kept as it is" in shown)
    assert main(["tune", "rerank", str(asked), "--off", *at]) == 1
    assert main(["tune", "rerank", "--off", *at]) == 0
    assert state_of(folder).reranker == ""
    workspace.material.put_questions(
        "quiz.jsonl", [], [Question(f"q{n}", f"q{n}?", ("x",), "en", f"f{n}") for n in range(35)]
    )
    assert main(["tune", "rerank", str(asked), *at]) == 1
    assert "70 in the exam" in capsys.readouterr().err


class Blind(Embedder):
    """To it whole texts are alike, in an order that says nothing; it reads their tokens as before."""

    def embed(self, texts: Sequence[str], kind: Literal["query", "passage"]) -> Vectors:
        draws = [np.random.default_rng(zlib.crc32(f"{kind}{text}".encode())).normal(size=self.width) for text in texts]
        vectors = np.array(draws, np.float32).reshape(len(texts), self.width)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_what_helps_is_chosen(tmp_path: Path) -> None:
    folder = tiny_embedder(tmp_path / "embedder")
    seeing = open_embedder(str(folder))
    embedder = Blind("blind", seeing.net, seeing._tokenizer, folder)
    workspace = Workspace.create(tmp_path / "school")
    questions = []
    for n in range(24):
        word = "".join(chr(ord("a") + (n + step) % 26) for step in range(3))
        text = f"{word} {word} {word} {word} 🎓"
        document = Document(f"d{n}", f"{n}.md", "", text, f"{n}", "en")
        part = Passage(f"p{n}", document.id, document.source, 0, len(text), text)
        workspace.material.put_document(File(document.source, f"{n}", len(text), 0.0), document, [part])
        for asked in (f"{word} {word}", f"{word}　{word}？"):
            questions.append(Question(asked, asked, ("x",), "en", asked, document.source, text))
    everything, cache = workspace.material.passages(), tmp_path / "cache"
    built = Library.build(tmp_path / "library", everything, embedder, cache, store="memory", fuse=Fuse(word_weight=0))
    found = rerank(built, embedder, workspace.material, questions, cache)
    assert found.checked[found.best] > found.checked[""]
    assert found.chosen == found.best
    assert found.held_out.low is not None
    assert found.held_out.low > 0
    assert found.after["ndcg@10"] > found.before["ndcg@10"] + 0.2
    assert built.state.reranker == state_of(built.folder).reranker == found.chosen
    lost = [replace(question, evidence="stands nowhere") for question in questions]
    with pytest.raises(Fixable, match="48 without evidence"):
        rerank(built, embedder, workspace.material, lost, cache)
    assert state_of(built.folder).reranker == found.chosen, "what was chosen before stays"


def test_sections_are_asked_for_without_their_headings(tmp_path: Path) -> None:
    workspace, _ = school(tmp_path, 6)
    bare, questions, relevant = by_heading(workspace.material)
    own = {p.id: p for p in workspace.material.passages()}
    assert len(questions) == 18
    for question in questions:
        for name in relevant[question.id]:
            assert own[name].headings[-1] == question.text
            (found,) = [p for p in bare if p.id == name]
            assert question.text not in [line.lstrip("# ") for line in found.searchable.splitlines()]
            assert found.text.strip()
    workspace.material.put_questions("quiz.jsonl", [], [Question("q", questions[0].text, ("x",), "en", "f")])
    assert questions[0] not in by_heading(workspace.material)[1], "what the exam asks is not asked here"


def test_stopped_by_the_keyboard_it_leaves_nothing(tmp_path: Path) -> None:
    workspace, _ = school(tmp_path, 40)
    teach(workspace, "retrieve", {"threshold": -1.0})
    folder = workspace.run("retrieve").folder / "library"
    before = sorted(path.name for path in folder.iterdir()), (folder / "library.json").read_bytes()
    running = subprocess.Popen(
        [*SHUYUAN, "tune", "rerank", "-w", str(workspace.folder)], stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    for line in running.stderr:
        if "training will take" in line or "reading what was found" in line:
            break
    running.send_signal(signal.SIGINT)
    assert running.wait(60) in (130, -signal.SIGINT)
    time.sleep(0.1)
    assert (sorted(path.name for path in folder.iterdir()), (folder / "library.json").read_bytes()) == before
    assert not (workspace.folder / "cache" / "reranking").exists()
