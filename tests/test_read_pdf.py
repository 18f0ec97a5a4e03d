"""PDF: pages, headings from the outline, running heads, joined lines; broken and locked files."""

from __future__ import annotations

from pathlib import Path

import pytest
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas

from shuyuan.base.errors import Fixable
from shuyuan.read.layout import Line, Outlined, find_outline, line_spans, printed, unwrap
from shuyuan.read.reading import read_file

SAMPLES = Path(__file__).parent / "samples"


def book(
    path: Path, chapters: list[tuple[int, str, str]], head: str = "", encrypt: StandardEncryption | None = None
) -> None:
    """A PDF with a page a chapter: (level, title, lines), an outline, and a running head with the page number."""
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    canvas = Canvas(str(path), encrypt=encrypt)
    for number, (level, title, text) in enumerate(chapters, start=1):
        canvas.setFont("STSong-Light", 11)
        if head:
            canvas.drawString(72, 810, f"{head} {number}")
        canvas.bookmarkPage(str(number))
        canvas.addOutlineEntry(title, str(number), level - 1)
        for row, line in enumerate([f"{number}.1 {title}", *text.split("\n")]):
            canvas.drawString(72, 770 - 16 * row, line)
        canvas.showPage()
    canvas.save()


def test_sample_pages_headings_and_joined_lines() -> None:
    document = read_file(SAMPLES / "sample.pdf", "sample.pdf")
    assert document.title == "书院手册"
    assert len(document.pages) == 2
    assert [(h.level, h.title, document.page_at(h.start)) for h in document.headings] == [
        (1, "第一章 读书", 1),
        (1, "Examination", 2),
    ]
    assert all(document.text.startswith(heading.title, heading.start) for heading in document.headings)
    assert "它把同一份材料用不同的办法教给模型，再用同一张卷子来考。" in document.text
    assert "the report says which of the routes worked" in document.text
    assert document.page_at(document.text.index("routes")) == 2


def test_nested_outline_and_running_heads(tmp_path: Path) -> None:
    file = tmp_path / "book.pdf"
    titles = [(1, "Reading"), (2, "Formats"), (2, "Walking folders"), (1, "Teaching"), (2, "LoRA"), (3, "Rank")]
    book(
        file,
        [(level, title, f"Some words about {title.lower()}.") for level, title in titles],
        head="Handbook v2, page",
    )
    document = read_file(file, "book.pdf")
    assert [(heading.level, heading.title) for heading in document.headings] == titles
    assert document.headings_at(document.text.index("words about rank")) == ("Teaching", "LoRA", "Rank")
    assert "Handbook" not in document.text
    for heading in document.headings:
        line = document.text[heading.start :].partition("\n")[0]
        assert line.split(" ", 1)[1] == heading.title  # the number before it belongs to its line


def test_titles_are_found_through_width_quotes_and_numbers() -> None:
    text = "see $PATH below\n1.5.2 ”$PATH” 变量\ntext\n附录 A　安装\n"
    found = find_outline(
        text, [0], [Outlined('"$PATH" 变量', 2, 0), Outlined("附录Ａ 安装", 1, 0), Outlined("缺席", 1, 0)]
    )
    assert [(text[h.start :].partition("\n")[0]) for h in found] == ["1.5.2 ”$PATH” 变量", "附录 A　安装"]


def test_lines_are_joined_only_inside_a_paragraph() -> None:
    lines = [
        "这一行写满了整个页面的宽度所以后面还有话没",
        "说完。",
        "• 一项",
        "这又是写满了整个页面宽度的一行文字它也没有",
        "1. 编号",
    ]
    text, starts = unwrap([Line(line) for line in lines], ())
    assert text == f"{lines[0]}说完。\n• 一项\n{lines[3]}\n1. 编号\n"
    assert all(text.startswith(line, start) for line, start in zip(lines, starts, strict=True))
    raw = "e\ufb03cient hy\ufffe\r\nphen \u2f49\r\nnext"
    assert [printed(raw[start:end]) for start, end in line_spans(raw)] == ["efficient hyphen 月", "next"]


def test_a_password_is_asked_for_by_name(tmp_path: Path) -> None:
    file = tmp_path / "locked.pdf"
    book(file, [(1, "Secret", "x")], encrypt=StandardEncryption("open sesame"))
    with pytest.raises(Fixable, match="password") as error:
        read_file(file, "locked.pdf")
    assert error.value.place == str(file)


@pytest.mark.parametrize("content", [b"%PDF-1.7\ngarbage", (SAMPLES / "sample.pdf").read_bytes()[:300]])
def test_a_broken_pdf_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.pdf"
    file.write_bytes(content)
    with pytest.raises(Fixable, match="broken") as error:
        read_file(file, "broken.pdf")
    assert error.value.place == str(file)


def test_pages_of_pictures_ask_for_a_text_recogniser(tmp_path: Path) -> None:
    file = tmp_path / "scan.pdf"
    canvas = Canvas(str(file))
    canvas.rect(10, 10, 100, 100)
    canvas.save()
    with pytest.raises(Fixable, match="pictures") as error:
        read_file(file, "scan.pdf")
    assert "OCR" in error.value.hint
