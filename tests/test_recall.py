"""Embedding once, fusing, searching, citing and refusing, on small real texts in both languages."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuyuan.base.errors import Fixable
from shuyuan.base.files import locked
from shuyuan.base.records import GREEDY, Answer, Conversation, Decoding, Message, Passage, ask
from shuyuan.recall.choosing import fitted
from shuyuan.recall.citing import sentences, support
from shuyuan.recall.embedding import embed_passages
from shuyuan.recall.fuse import Fuse
from shuyuan.recall.ground import Ground, about_tokens, cleaned, holds_none
from shuyuan.recall.grounded import GroundedAssistant
from shuyuan.recall.searching import Hit, Library
from shuyuan.store.contract import Vectors
from shuyuan.store.words import terms

DOCUMENTS = {
    "guide/lora.md": "LoRA trains two small matrices. The default rank is 16. A higher rank learns and costs more.",
    "guide/split.md": "Questions are split off before training. Near duplicates stay on one side, so nothing leaks.",
    "手册/检索.md": "检索先按意义再按词语排序。默认显示四段资料。阈值由每个资料库自己学出来。",
    "手册/训练.md": "增量预训练的学习率默认是 2e-5。训练中断后会从最近的检查点继续。",
}


class HashedTerms:
    """A small real embedder: counts of hashed terms, of unit length. It knows no synonyms and needs no weights."""

    name, width, evidence = "hashed-terms", 512, 0.0

    def __init__(self) -> None:
        self.embedded = 0

    def embed(self, texts: Sequence[str], kind: Literal["query", "passage"]) -> Vectors:
        self.embedded += len(texts)
        vectors = np.zeros((len(texts), self.width), np.float32)
        for row, text in enumerate(texts):
            for term in [*terms(text), kind]:
                vectors[row, zlib.crc32(term.encode()) % self.width] += 1
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

    def read(self, texts: Sequence[str], kind: Literal["query", "passage"]) -> list[tuple[list[int], Any]]:
        found = []
        for text in texts:
            ids = [zlib.crc32(term.encode()) % self.width for term in terms(text)]
            found.append((ids, np.tile(np.eye(self.width, dtype=np.float16)[ids], (2, 1, 1))))
        return found


class Extracts:
    """An assistant that answers with the sentence of its prompt nearest to the question; with no passages, "Paris"."""

    name = "extracts"

    def __init__(self) -> None:
        self.seen: list[Conversation] = []

    def nats(self, texts: Sequence[str]) -> list[float]:
        return [float(len(text)) for text in texts]

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding = GREEDY) -> list[Answer]:
        self.seen += conversations
        return [self._one(conversation[-1].content) for conversation in conversations]

    def _one(self, prompt: str) -> Answer:
        if "[1]" not in prompt:
            return Answer("Paris", prompt_tokens=1, answer_tokens=1)
        blocks = prompt.split("\n\n")
        asked = set(terms(blocks[-1]))
        texts = [block.split("\n", 1)[1] for block in blocks if block.startswith("[")]
        parts = [text[start:end] for text in texts for start, end in sentences(text)]
        best = max(parts, key=lambda part: len(asked & set(terms(part))))
        return Answer(
            best if len(asked & set(terms(best))) > 1 else "资料中没有答案。", prompt_tokens=9, answer_tokens=5
        )


def passages(documents: dict[str, str] = DOCUMENTS) -> list[Passage]:
    found = []
    for source, text in documents.items():
        heading = source.rsplit("/", 1)[-1].removesuffix(".md")
        found.append(Passage(f"id-{source}", f"doc-{source}", source, 0, len(text), text, (heading,)))
    return found


@pytest.fixture(params=["lance", "memory"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library.build(tmp_path / "library", passages(), HashedTerms(), tmp_path / "cache", store="memory")


# embedding


def test_embedded_once_and_in_order(tmp_path: Path) -> None:
    embedder, texts = HashedTerms(), ["短", "a longer text", "短", "😀 ＡＢＣ", "broken \ud800 surrogate"]
    first = embed_passages(embedder, texts[:-1], tmp_path)
    assert embedder.embedded == 3
    assert np.array_equal(first, HashedTerms().embed(texts[:-1], "passage"))
    assert np.array_equal(embed_passages(embedder, texts[:-1], tmp_path), first)
    assert embedder.embedded == 3
    assert embed_passages(embedder, [], tmp_path).shape == (0, embedder.width)


def test_another_embedder_has_its_own_vectors(tmp_path: Path) -> None:
    first, other = HashedTerms(), HashedTerms()
    other.name = "other"  # type: ignore[misc]
    embed_passages(first, ["一"], tmp_path)
    embed_passages(other, ["一"], tmp_path)
    assert (first.embedded, other.embedded) == (1, 1)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_recall import HashedTerms
from shuyuan.recall.embedding import embed_passages
class Dies(HashedTerms):
    def embed(self, texts, kind):
        if self.embedded >= 64:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed(texts, kind)
embed_passages(Dies(), [f"text {n:03}" for n in range(100)], Path(sys.argv[2]))
"""


def test_killed_embedding_goes_on(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, Path(__file__).parent, tmp_path], check=False)
    assert killed.returncode == -signal.SIGKILL
    embedder = HashedTerms()
    embed_passages(embedder, [f"text {n:03}" for n in range(100)], tmp_path)
    assert embedder.embedded == 36


def test_broken_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "embeddings.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(Fixable, match=r"embeddings\.sqlite"):
        embed_passages(HashedTerms(), ["一"], tmp_path)


# fusing


def test_fuse_is_reciprocal_rank_fusion() -> None:
    fused = Fuse(k=60, word_weight=0.3).fuse([("a", 0.9), ("b", 0.8)], [("b", 7.0), ("c", 5.0)])
    assert [one.id for one in fused] == ["b", "a", "c"]
    assert fused[0].score == pytest.approx(0.7 / 62 + 0.3 / 61)
    assert (fused[1].cosine, fused[1].word_rank) == (0.9, None)
    assert (fused[2].cosine, fused[2].word_rank) == (None, 2)


def test_fuse_breaks_ties_by_cosine_then_id() -> None:
    assert [one.id for one in Fuse(word_weight=0.5).fuse([("b", 0.5)], [("a", 3.0)])] == ["b", "a"]
    assert [one.id for one in Fuse(word_weight=0).fuse([("b", 0.5)], [("a", 3.0)])] == ["b"]
    assert [one.id for one in Fuse(depth=1).fuse([("x", 0.5), ("y", 0.4)], [])] == ["x"]


@given(st.permutations(range(8)), st.permutations(range(8)), st.floats(0, 1), st.integers(1, 100))
def test_first_in_both_is_first(dense: list[int], words: list[int], weight: float, k: int) -> None:
    lists = [[("best", 1.0), *((str(n), 0.5 - place / 100) for place, n in enumerate(part))] for part in (dense, words)]
    assert Fuse(k=k, word_weight=weight).fuse(lists[0], lists[1])[0].id == "best"


# the library


@pytest.mark.parametrize(
    ("query", "source"),
    [
        ("default rank of LoRA", "guide/lora.md"),
        ("学习率是多少", "手册/训练.md"),
        ("阈值怎么来", "手册/检索.md"),
        ("near-duplicates (leaks)?", "guide/split.md"),
    ],
)
def test_search_finds(tmp_path: Path, store: str, query: str, source: str) -> None:
    Library.build(tmp_path / "library", passages(), HashedTerms(), tmp_path / "cache", store=store)
    hits = Library.open(tmp_path / "library", HashedTerms()).search(query, 3)
    assert hits[0].passage.source == source
    assert hits[0].word_rank == 1
    assert hits[0].cosine is not None
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_only_what_changed_is_done_again(tmp_path: Path, store: str) -> None:
    def build(documents: dict[str, str]) -> tuple[Library, int]:
        embedder = HashedTerms()
        embed = embedder.embed
        counted: list[int] = []
        embedder.embed = lambda texts, kind: counted.append(len(texts) * (kind == "passage")) or embed(texts, kind)  # type: ignore[func-returns-value, method-assign]
        library = Library.build(tmp_path / "library", passages(documents), embedder, tmp_path / "cache", store=store)
        return library, sum(counted)

    assert build(DOCUMENTS)[1] == 4 + 2 * 24  # and the lines from which the place of each language is learned
    stamp = (tmp_path / "library" / "library.json").stat().st_mtime_ns
    assert build(DOCUMENTS)[1] == 0
    assert (tmp_path / "library" / "library.json").stat().st_mtime_ns == stamp
    changed = {**DOCUMENTS, "guide/lora.md": "LoRA's default rank is now 32."}
    del changed["guide/split.md"]
    library, embedded = build(changed)
    assert embedded == 1
    assert library.count() == 3
    assert "32" in library.search("LoRA rank", 1)[0].passage.text
    assert "guide/split.md" not in {hit.passage.source for hit in library.search("questions split duplicates", 9)}


def test_killed_build_goes_on(tmp_path: Path, store: str) -> None:
    folder, cache = tmp_path / "library", tmp_path / "cache"
    library = Library.build(folder, passages(), HashedTerms(), cache, store=store)
    state = json.loads((folder / "library.json").read_text())
    half = "doc-guide/lora.md"
    del state["documents"][half]
    (folder / "library.json").write_text(json.dumps(state | {"unfinished": [half], "thresholds": {}}))
    with pytest.raises(Fixable, match="no finished library"):
        Library.open(folder, HashedTerms())
    rest = [passage for passage in passages() if passage.document_id != half]
    library = Library.build(folder, rest, HashedTerms(), cache, store=store)
    assert library.count() == 3
    assert Library.open(folder, HashedTerms()).count() == 3


def test_lost_index_is_made_again(tmp_path: Path) -> None:
    folder, cache = tmp_path / "library", tmp_path / "cache"
    Library.build(folder, passages(), HashedTerms(), cache, store="memory")
    (folder / "index-memory" / "memory.npz").unlink()
    assert Library.build(folder, passages(), HashedTerms(), cache, store="memory").count() == 4


def test_library_errors_say_what_to_do(tmp_path: Path) -> None:
    folder, cache = tmp_path / "library", tmp_path / "cache"
    with pytest.raises(Fixable, match="shuyuan add"):
        Library.build(folder, [], HashedTerms(), cache)
    with pytest.raises(Fixable, match="shuyuan teach retrieve"):
        Library.open(folder, HashedTerms())
    with locked(folder / "lock", "shuyuan teach retrieve"), pytest.raises(Fixable, match="in use"):
        Library.build(folder, passages(), HashedTerms(), cache)
    Library.build(folder, passages(), HashedTerms(), cache, store="memory")
    other = HashedTerms()
    other.name = "other"  # type: ignore[misc]
    with pytest.raises(Fixable, match="built with hashed-terms"):
        Library.open(folder, other)


# citing


def test_sentences_have_exact_spans() -> None:
    text = "# 标题\n\n第一句。“第二句！”第三句？\nSee e.g. v2.5 of it. Then stop!\n- item one\n| a | b |\n"
    found = [text[start:end] for start, end in sentences(text)]
    assert found[:4] == ["# 标题", "第一句。", "“第二句！”", "第三句？"]
    assert "Then stop!" in found
    assert found[-2:] == ["- item one", "| a | b |"]


@given(st.text(max_size=200))
def test_sentences_cover_all_that_is_no_blank(text: str) -> None:
    spans = list(sentences(text))
    assert [(s, e) for s, e in spans] == sorted(spans)
    inside = {at for start, end in spans for at in range(start, end)}
    assert all(char.isspace() for at, char in enumerate(text) if at not in inside)


@pytest.mark.parametrize(
    ("question", "answer", "quote"),
    [
        ("What is the default rank?", "16", "The default rank is 16."),
        ("What does LoRA train?", "It trains two small matrices.", "LoRA trains two small matrices."),
        ("增量预训练的学习率是多少？", "学习率默认是2e-5。", "增量预训练的学习率默认是 2e-5。"),
        ("默认显示几段资料？", "四段", "默认显示四段资料。"),
        ("阈值从哪里来？", "阈值是每个资料库自己学出来的", "阈值由每个资料库自己学出来。"),
        ("默认显示四段资料吗？", "是的。", "默认显示四段资料。"),
        ("默认显示几段资料？", "4 段", "默认显示四段资料。"),
        ("How many small matrices does LoRA train?", "2", "LoRA trains two small matrices."),
        ("Does LoRA train small or large matrices?", "small", "LoRA trains two small matrices."),
    ],
)
def test_support_is_the_sentence_that_says_it(question: str, answer: str, quote: str) -> None:
    shifted = [replace(p, start=p.start + 100, end=p.end + 100) for p in passages()]
    found = support(question, answer, shifted)
    assert found.share >= 0.5
    assert found.citations[0].quote == quote
    for citation in found.citations:
        assert ("x" * 100 + DOCUMENTS[citation.source])[citation.start : citation.end] == citation.quote


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the default rank?", "The default rank is 64."),
        ("Who wrote the guide?", "Professor Zhang of Tsinghua wrote it."),
        ("学习率是多少？", "学习率是 3e-4。"),
        ("书院在哪里？", "书院位于湖南长沙岳麓山。"),
        ("What does LoRA train in the network?", "LoRA trains in the network."),  # says nothing new
        ("What is the default rank of lora-7b?", "16"),  # a name that the passage does not hold
        ("What is the learning rate?", "The learning rate is 2e-4."),
    ],
)
def test_what_the_passages_do_not_hold_has_no_support(question: str, answer: str) -> None:
    assert support(question, answer, passages()).share < 0.5


def test_across_languages_only_what_is_not_translated_counts() -> None:
    english = [p for p in passages() if p.source.startswith("guide")]
    assert (
        support("小矩阵是谁训练的？", "由 LoRA 训练。", english).citations[0].quote == "LoRA trains two small matrices."
    )
    assert support("小矩阵是谁训练的？", "由教授训练。", english).share == 0
    chinese = [p for p in passages() if not p.source.startswith("guide")]
    found = support("How large is the rate?", "The rate for further training is 2e-5.", chinese)
    assert found.citations[0].quote == "增量预训练的学习率默认是 2e-5。"


@pytest.mark.parametrize(
    ("question", "answer", "quote", "invented"),
    [
        ("哪一种模式只用资料？", "`query`", "`query` 模式只用资料。", "`chat`"),
        ("哪一种模式只用资料？", "ｑｕｅｒｙ", "`query` 模式只用资料。", "ｃｈａｔ"),
        ("先教 lora，再教 retrieve，怎么写？🏷️", "`lora+retrieve`", "名字就是 `lora+retrieve`。", "`dpo+merge`"),
        ("写报告的文件叫什么名字？", "report.html", "报告写在 report.html 里。", "summary.pdf"),
        ("Which mode uses nothing but the documents?", "query", "`query` 模式只用资料。", "chat"),
        ("What is the report called?", "It is report.html.", "报告写在 report.html 里。", "It is summary.pdf."),
    ],
)
def test_a_name_quoted_from_chinese_is_no_translation(question: str, answer: str, quote: str, invented: str) -> None:
    told = "`query` 模式只用资料。先教一种，再在上面教另一种。名字就是 `lora+retrieve`。报告写在 report.html 里。"
    page = Passage("p", "p", "手册.md", 0, len(told), told)
    assert support(question, answer, [page]).citations[0].quote == quote
    assert not support(question, invented, [page]).citations


def test_an_ordinal_is_no_name() -> None:
    told = "With 128 requests waiting the next client gets 429."
    page = Passage("p", "p", "serve.md", 0, len(told), told)
    assert support("Which status does the 129th client get?", "429", [page]).citations
    assert not support("Which status does the qwen2 client get?", "429", [page]).citations


# grounding


def test_prompt_is_numbered_in_the_language_of_the_question() -> None:
    english = Ground().prompt("What {rank}?", passages()[:2], "en")
    assert english.startswith("Sources:\n\n[1] guide/lora.md > lora\nLoRA trains")
    assert "[2] guide/split.md" in english
    assert english.rstrip().endswith("Question: What {rank}?")
    assert "问题：阈值？" in Ground().prompt("阈值？", passages(), "zh")


def test_passages_fit_the_budget() -> None:
    long = [Hit(replace(p, text=sign * 300), 0.0, 0.9, None) for p, sign in zip(passages(), "天地玄黄", strict=True)]
    assert fitted(long, 4, 500) == (long[0].passage, long[1].passage)
    assert fitted(long, 4, 100) == (long[0].passage,)
    assert len(fitted([Hit(p, 0.0, 0.9, None) for p in passages()], 3, 1400)) == 3
    pinned = [*long[:3], replace(long[3], pinned=True)]
    assert fitted(pinned, 4, 500) == (long[0].passage, long[3].passage)
    assert fitted(pinned, 1, 500) == (long[3].passage,)
    assert about_tokens("字" * 100) == pytest.approx(70)


def test_answers_are_cleaned() -> None:
    assert cleaned(" 答案：16 [1]\n\n因为……") == "16"
    assert cleaned("Answer: two【2】 matrices [3].") == "two matrices."
    assert cleaned("根据上面的资料，它学 6 遍。") == "它学 6 遍。"
    assert cleaned("According to the sources, it learns six times.") == "it learns six times."
    assert cleaned("根据资料库的大小决定。") == "根据资料库的大小决定。"
    assert holds_none("资料中没有答案。")
    assert holds_none("The sources do not hold the answer.")
    assert holds_none("")
    assert not holds_none("默认是 16。")


def test_query_answers_from_the_library_or_refuses(library: Library) -> None:
    assistant = GroundedAssistant("retrieve", Extracts(), library, Ground(threshold=0.05))
    zh, en, off = assistant.answer(
        [ask("增量预训练的学习率是多少？"), ask("What is the default rank?"), ask("xylophone?")]
    )
    assert zh.text == zh.citations[0].quote == "增量预训练的学习率默认是 2e-5。"
    assert en.citations[0].source == "guide/lora.md"
    assert "16" in en.text
    assert en.retrieved[0] == "id-guide/lora.md"
    assert (en.prompt_tokens, en.answer_tokens) == (9, 5)
    assert off.refused
    assert not off.citations
    assert off.text == "The library holds no answer to this question."
    assert not zh.beyond
    assert not en.beyond


def test_far_questions_never_reach_the_model(library: Library) -> None:
    inner = Extracts()
    (answer,) = GroundedAssistant("retrieve", inner, library, Ground(threshold=0.99)).answer([ask("默认的秩是多少？")])
    assert answer.refused
    assert answer.text == "资料库中没有这个问题的答案。"
    assert not inner.seen


def test_chat_says_when_it_goes_beyond(library: Library) -> None:
    assistant = GroundedAssistant("retrieve", Extracts(), library, Ground(mode="chat", threshold=0.05))
    inside, beyond = assistant.answer([ask("What is the default rank?"), ask("法国的首都在哪里？")])
    assert not inside.beyond
    assert inside.citations
    assert beyond.beyond
    assert not beyond.refused
    assert not beyond.citations
    assert beyond.text.startswith("资料库中没有这个问题的答案")
    assert beyond.text.endswith("Paris")


def test_only_the_last_message_is_looked_up(library: Library) -> None:
    inner = Extracts()
    history = (*ask("What is the default rank?"), Message("assistant", "16"), *ask("xylophone zither?"))
    (answer,) = GroundedAssistant("retrieve", inner, library, Ground(threshold=0.2)).answer([history])
    assert answer.refused
    assert not inner.seen
    follow_up = (*history[:2], *ask("增量预训练的学习率是多少？"))
    GroundedAssistant("retrieve", inner, library, Ground(threshold=0.05)).answer([follow_up])
    assert [message.content for message in inner.seen[-1][:2]] == [message.content for message in history[:2]]


def test_nats_are_those_of_the_assistant_inside(library: Library) -> None:
    assert GroundedAssistant("retrieve", Extracts(), library).nats(["ab", "字"]) == [2.0, 1.0]


def test_nothing_asked_nothing_answered(library: Library) -> None:
    assert GroundedAssistant("retrieve", Extracts(), library).answer([]) == []
