"""Passages: exact spans, nothing lost, cut where the document cuts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shuyuan.base.records import Document, Heading
from shuyuan.prepare.chunk import Chunk
from shuyuan.read.language import language
from shuyuan.read.markdown import find_headings
from shuyuan.read.reading import read_file

SAMPLES = Path(__file__).parent / "samples"
WORDS = st.sampled_from(
    ["书院藏书。", "教学、考试，", "one house ", "Teach it well. ", "😀👩‍🔬", "ＬｏＲＡ", "\n", "\n\n", "# 标题\n",
     "## Part\n",      "### deep `x`\n", "```\n# no\n```\n", "- item\n", "| a | b |\n", " ", "　", "x" * 50, "长" * 90]
)  # fmt: skip


def document(text: str, pages: tuple[int, ...] = (), headings: tuple[Heading, ...] | None = None) -> Document:
    """A document of that text, with Markdown headings unless others are given."""
    found = tuple(find_headings(text)) if headings is None else headings
    return Document("d", "docs/a.md", "a", text, "", language(text), found, pages)


def squeezed(text: str) -> str:
    """Without white space."""
    return "".join(text.split())


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=60).map("".join), st.sampled_from([0, 1, 7, 40, 200]), st.booleans())
def test_spans_are_exact_and_nothing_is_lost(text: str, characters: int, paged: bool) -> None:
    made = document(text, pages=(0, len(text) // 2) if paged else ())
    passages = Chunk(characters=characters).chunk(made)
    end = 0
    for passage in passages:
        assert made.text[passage.start : passage.end] == passage.text
        assert passage.text.strip()
        assert passage.start >= end
        end = passage.end
        assert passage.page == made.page_at(passage.start)
    assert squeezed("".join(passage.text for passage in passages)) == squeezed(text)
    assert len({passage.id for passage in passages}) == len(passages)
    assert passages == Chunk(characters=characters).chunk(made)


@given(st.text(), st.integers(1, 30))
def test_any_text_at_all(text: str, characters: int) -> None:
    passages = Chunk(characters=characters).chunk(document(text))
    assert squeezed("".join(passage.text for passage in passages)) == squeezed(text)
    assert all(text[passage.start : passage.end] == passage.text for passage in passages)


@pytest.mark.parametrize(
    ("sentence", "most"), [("书院把书交给模型，再考一考它。", 400), ("The academy keeps books. ", 1000)]
)
def test_the_derived_size_depends_on_the_language(sentence: str, most: int) -> None:
    lengths = [len(passage.text) for passage in Chunk().chunk(document(sentence * 400))]
    assert max(lengths) <= most
    assert min(lengths[:-1]) > most // 2


def test_long_sections_are_cut_at_sentence_ends() -> None:
    passages = Chunk(characters=100).chunk(document("# 书院\n\n" + "书院把书交给模型，再考一考它。" * 40))
    assert all(passage.text.endswith("。") for passage in passages)
    assert all(passage.headings == ("书院",) for passage in passages)


def test_top_headings_part_passages_lower_ones_are_put_together() -> None:
    body = "word " * 50
    text = f"# A\n\n## B\n\n{body}\n\n## C\n\n{body}\n\n### D\n\n{body}\n"
    passages = Chunk(characters=1000).chunk(document(text))
    assert [(p.text.split("\n")[0], p.headings) for p in passages] == [("# A", ("A", "B")), ("## C", ("A", "C"))]


def test_tiny_sections_are_put_together() -> None:
    text = "".join(f"# 第{number}节\n\n一句话。\n\n" for number in range(6))
    assert len(Chunk().chunk(document(text))) == 1


def test_a_heading_is_never_parted_from_its_text() -> None:
    text = "".join(f"## 第{number}节\n\n{'很长的一句话，' * 30}。\n\n" for number in range(5))
    for passage in Chunk(characters=150).chunk(document(text)):
        assert not passage.text.rstrip().endswith("节")


def test_pages_and_headings_of_a_pdf() -> None:
    made = read_file(SAMPLES / "sample.pdf", "sample.pdf")
    passages = Chunk(characters=60).chunk(made)
    last = next(passage for passage in passages if "routes" in passage.text)
    assert (last.page, last.headings) == (2, ("Examination",))
