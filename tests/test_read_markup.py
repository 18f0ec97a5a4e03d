"""Markdown, HTML and DOCX: the words that a reader sees, and headings where they stand."""

from __future__ import annotations

import zipfile
from pathlib import Path

import docx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document
from shuyuan.read.markdown import find_headings, without_front_matter
from shuyuan.read.reading import read_file

SAMPLES = Path(__file__).parent / "samples"


def outline(document: Document) -> list[tuple[int, str]]:
    """(level, title) of each heading, after checking that it stands where it says."""
    for heading in document.headings:
        line = document.text[heading.start :].partition("\n")[0].replace("`", "").replace("*", "")
        assert heading.title in line
        assert heading.start == 0 or document.text[heading.start - 1] == "\n"
    return [(heading.level, heading.title) for heading in document.headings]


def page(tmp_path: Path, html: str, encoding: str = "utf-8") -> Document:
    """The document of one HTML page."""
    file = tmp_path / "page.html"
    file.write_bytes(html.encode(encoding))
    return read_file(file, "site/page.html")


def test_markdown_sample() -> None:
    document = read_file(SAMPLES / "sample.md", "docs/sample.md")
    assert outline(document) == [(1, "书院 Shuyuan"), (2, "教学 teach"), (2, "Examination")]
    assert document.title == "书院手册"
    assert document.text.startswith("# 书院")
    assert "tags:" not in document.text
    assert document.headings_at(document.text.index("用一种")) == ("书院 Shuyuan", "教学 teach")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# One #\n## Two\n####### seven\n#no", [(1, "One"), (2, "Two")]),
        ("~~~\n# code\n~~~\n# real", [(1, "real")]),
        ("````\n```\n# code\n````\n# real", [(1, "real")]),
        ("- ```sh\n  # code\n  ```\n# real", [(1, "real")]),
        ("```\n# never closed", []),
        ("    # indented code\n# real", [(1, "real")]),
        ("a | b\n--- | ---\n\ntext\n\n---\n\nmore", []),
        ("- item\n---\n", []),
        ("题目\n====\n小节\n----\n", [(1, "题目"), (2, "小节")]),
        ("# [Link](http://x) and **bold** `code` {#anchor}", [(1, "Link and bold code")]),
        ("#\n# \n", []),
        ("# 全角　标题", [(1, "全角 标题")]),
    ],
)
def test_what_is_a_markdown_heading(text: str, expected: list[tuple[int, str]]) -> None:
    assert [(heading.level, heading.title) for heading in find_headings(text)] == expected


def test_a_rule_at_the_top_is_not_front_matter() -> None:
    assert without_front_matter("---\njust text\n---\nmore")[0] == "---\njust text\n---\nmore"


@given(st.text(alphabet="#=-`~ \n书a😀"))
def test_markdown_headings_are_in_order_and_in_place(text: str) -> None:
    found = find_headings(text)
    assert [heading.start for heading in found] == sorted({heading.start for heading in found})
    for heading in found:
        assert "".join(heading.title.split()) != ""
        assert heading.start == 0 or text[heading.start - 1] == "\n"


def test_html_sample_is_main_content_only() -> None:
    document = read_file(SAMPLES / "sample.html", "sample.html")
    assert outline(document) == [(1, "检索 Retrieval"), (2, "Search")]
    assert document.title == "检索 Retrieval"
    assert "把书交给模型，按图索骥。" in document.text
    assert "- words\n- vectors" in document.text
    assert "| 10 | 0.9 |" in document.text
    for unseen in ("menu", "Home", "secret", "invisible", "alert", "Copyright", "color", "x.html"):
        assert unseen not in document.text


def test_html_title_names_a_page_without_headings(tmp_path: Path) -> None:
    assert page(tmp_path, "<html><title>关于\n书院</title><body><p>One house.</p>").title == "关于 书院"
    assert page(tmp_path, "<html><body><p>One house.</p>").title == "page"


def test_html_header_of_an_article_stays_that_of_the_page_goes(tmp_path: Path) -> None:
    document = page(
        tmp_path,
        "<html><body><header>site</header><article><header><h1>A</h1></header><p>x</p></article></body></html>",
    )
    assert outline(document) == [(1, "A")]
    assert "site" not in document.text


def test_html_of_several_hidden_siblings_the_last_is_shown_by_a_script(tmp_path: Path) -> None:
    switch = "<p>Press <span><span hidden class=mac>Command</span><span hidden>Ctrl</span></span>+F</p>"
    assert page(tmp_path, f"<html><body>{switch}").text == "Press Ctrl+F\n"


def test_html_hidden_as_a_whole_is_shown_by_a_script(tmp_path: Path) -> None:
    assert page(tmp_path, "<html><body><div> <div hidden><h1>All</h1></div></div>").text == "# All\n"


@pytest.mark.parametrize(
    ("encoding", "meta"), [("gbk", "gb2312"), ("big5", "big5"), ("gbk", "utf-8"), ("utf-16", ""), ("gb18030", "")]
)
def test_html_in_its_declared_encoding_or_in_the_true_one(tmp_path: Path, encoding: str, meta: str) -> None:
    declared = f'<meta charset="{meta}">' if meta else ""
    html = f"<html><head>{declared}</head><body><h1>文件</h1><p>大學的中心是一座大山，水在山下。</p></body></html>"
    assert outline(page(tmp_path, html, encoding)) == [(1, "文件")]


def test_html_nested_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Fixable, match="nested too deeply"):
        page(tmp_path, "<html><body>" + "<div>" * 5_000 + "deep")


def test_docx_sample() -> None:
    document = read_file(SAMPLES / "sample.docx", "sample.docx")
    assert outline(document) == [(1, "书院手册"), (2, "Teach")]
    assert "| k | recall |" in document.text
    assert "- rank sixteen" in document.text


def test_a_wrong_suffix_does_not_matter_content_decides(tmp_path: Path) -> None:
    for kind, expected in (("docx", "书院手册"), ("html", "检索 Retrieval"), ("pdf", "书院手册")):
        file = tmp_path / f"{kind}.txt"
        file.write_bytes((SAMPLES / f"sample.{kind}").read_bytes())
        assert read_file(file, file.name).title == expected
    for suffix in (".pdf", ".docx", ".md"):
        file = tmp_path / f"plain{suffix}"
        file.write_text("只是文字。")
        assert read_file(file, file.name).text == "只是文字。"


def rezipped(tmp_path: Path, name: str, content: bytes) -> Path:
    """The sample document with one part replaced or added."""
    file = tmp_path / "changed.docx"
    with zipfile.ZipFile(SAMPLES / "sample.docx") as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            if entry != name:
                new.writestr(entry, old.read(entry))
        new.writestr(name, content)
    return file


def test_docx_that_would_unpack_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Fixable, match="would unpack"):
        read_file(rezipped(tmp_path, "word/bomb.xml", bytes(60_000_000)), "x")


def test_docx_with_entities_is_refused(tmp_path: Path) -> None:
    evil = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>'
    for encoded in (evil.encode(), evil.encode("utf-16")):
        with pytest.raises(Fixable, match="entities"):
            read_file(rezipped(tmp_path, "word/document.xml", encoded), "x")


@pytest.mark.parametrize("keep", [4, 100, 20_000])
def test_a_cut_docx_is_refused(tmp_path: Path, keep: int) -> None:
    file = tmp_path / "cut.docx"
    file.write_bytes((SAMPLES / "sample.docx").read_bytes()[:keep])
    with pytest.raises(Fixable, match="not a whole Word document") as error:
        read_file(file, "cut.docx")
    assert error.value.place == str(file)


def test_docx_with_broken_xml_other_archives_and_old_word_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Fixable, match="not a whole Word document"):
        read_file(rezipped(tmp_path, "word/document.xml", b"<w:document"), "x")
    file = tmp_path / "sheet.docx"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    with pytest.raises(Fixable, match="not a whole Word document"):
        read_file(file, "x")
    file.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    with pytest.raises(Fixable, match="old Office file"):
        read_file(file, "x")


def test_docx_without_words_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "blank.docx"
    docx.Document().save(str(file))
    with pytest.raises(Fixable, match="no text"):
        read_file(file, "blank.docx")
