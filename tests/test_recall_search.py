"""Libraries that move between stores, search that is tuned, reranked and asked in several ways."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_recall import HashedTerms, passages

from shuyuan.base.errors import Fixable
from shuyuan.base.material import File
from shuyuan.base.records import Document, Message, Passage, Question
from shuyuan.base.shelf import choices, choose
from shuyuan.base.workspace import Workspace
from shuyuan.cli.main import main
from shuyuan.examine.tuning import ndcg, tune
from shuyuan.read.language import language
from shuyuan.recall import keeping, searching
from shuyuan.recall.asking import queries
from shuyuan.recall.centring import Centres
from shuyuan.recall.fuse import Fuse
from shuyuan.recall.searching import Library
from shuyuan.recall.state import state_of
from shuyuan.store.contract import Vectors

QUERIES = ["default rank of LoRA", "学习率是多少", "near-duplicates (leaks)?"]


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_URL", ":memory:")


def seen(library: Library) -> list[tuple[object, ...]]:
    """What three questions find: all by meaning, and the first of all."""
    near = [
        [(name, pytest.approx(cosine, abs=1e-5)) for name, cosine in of.dense] for of in library.rankings(QUERIES, 4)
    ]
    return [(dense, library.search(query, 1)[0].passage) for dense, query in zip(near, QUERIES, strict=True)]


def built(folder: Path, store: str) -> Library:
    return Library.build(folder, passages(), HashedTerms(), folder.parent / "cache", store=store)


# moving


@pytest.mark.parametrize("store", choices("store"))
@pytest.mark.parametrize("to", choices("store"))
def test_moved_library_finds_the_same(tmp_path: Path, store: str, to: str) -> None:
    folder = tmp_path / "library"
    found = seen(built(folder, store))
    assert keeping.move(folder, to) == (store != to)
    after = Library.open(folder, HashedTerms())
    assert after.state.store == to
    assert seen(after) == found
    assert [path.name for path in folder.glob("index*")] == [f"index-{to}"]
    again = HashedTerms()
    Library.build(folder, passages(), again, tmp_path / "cache")  # no store named: it stays where it is
    assert state_of(folder).store == to
    assert again.embedded == 0


def test_a_move_that_is_cut_leaves_one_whole_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "library"
    built(folder, "lance")

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as now:  # while the copy is compared
        now.setattr(keeping, "content_hash", cut)
        with pytest.raises(KeyboardInterrupt):
            keeping.move(folder, "sqlite")
    assert Library.open(folder, HashedTerms()).state.store == "lance"
    with monkeypatch.context() as now:  # after the library turned to the copy, before the old one is gone
        now.setattr("shuyuan.store.lance.LanceIndex.remove", cut)
        with pytest.raises(KeyboardInterrupt):
            keeping.move(folder, "sqlite")
    assert Library.open(folder, HashedTerms()).count() == 4
    assert state_of(folder).store == "sqlite"
    Library.build(folder, passages(), HashedTerms(), tmp_path / "cache")
    assert [path.name for path in folder.glob("index*")] == ["index-sqlite"]


def test_a_copy_that_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "library"
    built(folder, "memory")
    index = choose("store", "sqlite")().open(tmp_path / "other", 512)
    upsert = type(index).upsert
    monkeypatch.setattr(type(index), "upsert", lambda self, p, v: upsert(self, p[:-1], v[:-1]))
    with pytest.raises(Fixable, match="nothing was changed"):
        keeping.move(folder, "sqlite")
    assert Library.open(folder, HashedTerms()).count() == 4
    assert [path.name for path in folder.glob("index*")] == ["index-memory"]


def test_changed_store_is_built_anew_and_the_old_one_goes(tmp_path: Path) -> None:
    folder = tmp_path / "library"
    built(folder, "qdrant")
    assert built(folder, "sqlite").count() == 4
    assert [path.name for path in folder.glob("index*")] == ["index-sqlite"]


def test_only_a_finished_library_moves(tmp_path: Path) -> None:
    with pytest.raises(Fixable, match="no finished library"):
        keeping.move(tmp_path / "library", "sqlite")


# tuning


def asked(count: int, text: Callable[[int], str]) -> list[Question]:
    return [
        Question(f"q{n}", text(n), ("",), "en", f"fact{n}", f"doc{n}.md", f"code{n} is the evidence of page {n}.")
        for n in range(count)
    ]


def shelves(workspace: Workspace, count: int) -> Library:
    """Pages told apart by a code that only the words find: the embedder is blind to it."""
    for n in range(count):
        text = f"code{n} is the evidence of page {n}."
        document = Document(f"d{n}", f"doc{n}.md", "", text, f"{n}", "en")
        file = File(document.source, f"{n}", len(text), 0.0)
        part = Passage(f"p{n}", document.id, document.source, 0, len(text), text)
        workspace.material.put_document(file, document, [part])
    folder = workspace.folder / "library"
    return Library.build(folder, workspace.material.passages(), Blind(), folder.parent / "cache", store="memory")


class Blind(HashedTerms):
    """An embedder to which all texts are nearly alike, in an order that says nothing."""

    name = "blind"

    def embed(self, texts: Sequence[str], kind: Literal["query", "passage"]) -> Vectors:
        vectors = np.ones((len(texts), self.width), np.float32)
        for row, text in enumerate(texts):
            vectors[row] += np.random.default_rng(zlib.crc32(text.encode())).normal(size=self.width) / 10
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_tuning_turns_to_words_where_meaning_is_blind(workspace: Workspace) -> None:
    library = shelves(workspace, 120)
    tuned = tune(library, workspace.material, asked(120, lambda n: f"code{n} page"))
    assert tuned.chosen == tuned.best
    assert tuned.chosen.word_weight > Fuse().word_weight
    assert tuned.development.low is not None
    assert tuned.development.low > 0
    assert tuned.after["ndcg@10"] > tuned.before["ndcg@10"]
    again = Library.open(library.folder, Blind())
    assert again.fuse == tuned.chosen
    assert again.search("code7 page", 1)[0].passage.source == "doc7.md"
    assert Library.open(library.folder, Blind(), Fuse(word_weight=0)).fuse.word_weight == 0  # by hand goes before
    assert Library.build(library.folder, workspace.material.passages(), Blind(), workspace.folder / "cache").fuse == (
        tuned.chosen
    )


def test_tuning_keeps_the_default_without_evidence(workspace: Workspace) -> None:
    library = shelves(workspace, 60)
    tuned = tune(library, workspace.material, asked(60, lambda n: "nothing in common"))
    assert tuned.chosen == Fuse()
    assert tuned.before == tuned.after
    assert library.state.fuse == {}


def test_tuning_leaves_the_exam_alone(workspace: Workspace) -> None:
    library = shelves(workspace, 60)
    questions = asked(60, lambda n: f"code{n} page")
    workspace.material.put_questions("quiz.jsonl", [], questions[:45])
    with pytest.raises(Fixable, match="45 in the exam"):
        tune(library, workspace.material, questions)
    lost = [replace(q, evidence="stands nowhere") for q in asked(30, lambda n: f"other {n}")]
    with pytest.raises(Fixable, match="without evidence"):
        tune(library, workspace.material, [replace(q, fact=f"other{q.fact}") for q in lost])


def test_ndcg_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(0)
    for _ in range(20):
        wanted = set(rng.choice(30, rng.integers(1, 6), replace=False).tolist())
        ranked = rng.permutation(30).tolist()
        truth, scores = np.zeros(30), np.zeros(30)
        truth[list(wanted)], scores[ranked] = 1, np.arange(30, 0, -1)
        ours = ndcg([str(n) for n in ranked], {str(n) for n in wanted})
        assert ours == pytest.approx(ndcg_score(truth[None], scores[None], k=10))


# languages


class Apart(HashedTerms):
    """An embedder that keeps two languages far apart and knows the same numbers in both."""

    name = "apart"

    def embed(self, texts: Sequence[str], kind: Literal["query", "passage"]) -> Vectors:
        vectors = np.zeros((len(texts), self.width), np.float32)
        for row, text in enumerate(texts):
            vectors[row, 0 if language(text) == "zh" else 1] = 6
            vectors[row, 2] = 3
            for digit in set(text) & set("0123456789"):
                vectors[row, 10 + int(digit)] += 1
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_a_question_finds_the_passage_in_the_other_language(tmp_path: Path) -> None:
    texts = {f"zh{n}": f"第 {n} 号文件的内容是这样写的" for n in range(8)}
    texts["en9"] = "The content of document number 9 is written here"
    library = Library.build(
        tmp_path / "l", passages(texts), Apart(), tmp_path / "c", store="memory", fuse=Fuse(word_weight=0)
    )
    assert (
        Apart().embed(["第 9 号文件", *texts.values()], "query")[0] @ Apart().embed([texts["en9"]], "passage")[0] < 0.3
    )
    assert library.search("第 9 号文件", 1)[0].passage.source == "en9"
    assert library.search("number 3", 1)[0].passage.source == "zh3"
    assert Library.open(tmp_path / "l", Apart()).state.centres == library.state.centres


def test_words_count_for_little_in_another_language(tmp_path: Path) -> None:
    assert [one.id for one in Fuse(word_weight=0).fuse([("a", 0.8), ("b", 0.76)], [], {"a"})] == ["b", "a"]
    assert [one.id for one in Fuse(word_weight=0).fuse([("a", 0.8), ("b", 0.74)], [], {"a"})] == ["a", "b"]
    dense, words = [("zh", 0.9), *((str(n), 0.8) for n in range(8)), ("en", 0.7)], [("en", 5.0)]
    assert [one.id for one in Fuse(word_weight=0.5).fuse(dense, words)][:2] == ["en", "zh"]
    assert Fuse(word_weight=0.5).fuse(dense, words, {"en", "zh"})[0].id == "zh"
    assert [one.id for one in Fuse(word_weight=1).fuse(dense, words, {"en", "zh"})] == ["en"]
    library = Library.build(tmp_path / "l", passages(), HashedTerms(), tmp_path / "c", store="memory")
    assert library.state.languages == {"en": 2, "zh": 2}
    (found,) = library.rankings(["What is the default rank of LoRA?"], 9)
    assert found.foreign == {"id-手册/检索.md", "id-手册/训练.md"}
    (found,) = library.rankings(["2e-5"], 9)
    assert found.foreign == {"id-手册/检索.md", "id-手册/训练.md"}
    (found,) = library.rankings(["16"], 9)
    assert found.foreign == set()


@given(st.lists(st.text(max_size=20), max_size=5))
def test_centred_vectors_are_of_unit_length(texts: list[str]) -> None:
    centres = Centres.learn(Apart())
    vectors = centres.taken_off(Apart().embed(texts, "query"), texts, "query")
    assert vectors.shape == (len(texts), Apart.width)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_lines_are_parallel_and_in_their_language() -> None:
    lines = (Path(searching.__file__).parent / "languages.txt").read_text(encoding="utf-8").splitlines()[1:]
    kinds = [tuple(line.split(" ", 2)[:2]) for line in lines]
    assert kinds == [("en", "?"), ("en", "."), ("zh", "?"), ("zh", ".")] * 24
    assert all(language(line.split(" ", 2)[2]) == line[:2] for line in lines)
    assert len(set(lines)) == len(lines)


# asking


def talk(*turns: str) -> list[Message]:
    return [Message("user" if place % 2 == 0 else "assistant", turn) for place, turn in enumerate(turns)]


@pytest.mark.parametrize(
    ("before", "now", "together"),
    [
        ("What does LoRA train?", "And its default rank?", True),
        ("What does LoRA train?", "What about full tuning?", True),
        ("LoRA 训练什么？", "它的默认秩是多少？", True),
        ("LoRA 训练什么？", "那全量微调呢？", True),
        ("How is the threshold learned?", "Why?", True),
        ("阈值怎么来？", "为什么？", True),
        ("What does LoRA train?", "Will rain fall in London tomorrow?", False),
        ("LoRA 训练什么？", "明天北京会下雨吗？", False),
        ("LoRA 训练什么？", "应该用哪个命令导出模型？", False),
        ("LoRA 训练什么？", "其他方法有哪些？", False),
        ("What does LoRA train?", "Is there a way to export a model?", False),
        ("What does LoRA train?", "Our lawyers ask for the licence of Shuyuan. What do I tell them?", False),
        ("LoRA 训练什么？", "那个英文小模型要下载多少兆？", False),
        ("LoRA 训练什么？", "这是怎么做到的？", True),
    ],
)
def test_a_follow_up_is_searched_with_its_subject(before: str, now: str, together: bool) -> None:
    asked = queries(talk(before, "…", now))
    assert asked == ([f"{before} {now}"] if together else [now])


def test_a_chain_keeps_its_subject() -> None:
    chain = talk("What does LoRA train?", "…", "And its rank?", "…", "Why is that so small?")
    assert queries(chain) == ["What does LoRA train? And its rank? Why is that so small?"]
    assert queries([*chain, *talk("How do I export a model?")]) == ["How do I export a model?"]
    assert queries([]) == queries(talk(" ")) == []
    assert queries(talk("And its rank?")) == ["And its rank?"]


@given(st.lists(st.text(max_size=30), max_size=6))
def test_any_conversation_has_its_query(turns: list[str]) -> None:
    assert len(queries(talk(*turns))) == any(turn.strip() for turn in turns[::2])


# the command


def test_the_command_lists_and_moves(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = workspace.run("retrieve")
    built(run.folder / "library", "lance")
    (run.folder / "done.json").write_text("{}")
    where = ["--workspace", str(workspace.folder)]
    assert main(["store", *where]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in choices("store"))
    assert "retrieve    lance  4" in out
    assert main(["store", "sqlite", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out) == [{"assistant": "retrieve", "store": "sqlite", "passages": 4}]
    assert main(["store", "memory", "--only", "lora", *where]) == 1
    assert "'lora' has no library" in capsys.readouterr().err
