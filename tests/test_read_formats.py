"""Every format on the shelf: its sample is read, points back to its place, and what is known of it is there."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path

import numpy as np
import pytest
import xlsxwriter
from PIL import Image, ImageDraw, ImageFont
from pptx import Presentation
from pptx.util import Inches

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document
from shuyuan.base.shelf import choices
from shuyuan.read import ocr
from shuyuan.read.code import find_definitions
from shuyuan.read.reading import Part, read_file, read_parts

SAMPLES = Path(__file__).parent / "samples"
CODE = "class 书院:\n    def teach(self, rank=16):\n        return rank\n\n\ndef main():\n    pass\n"


def spreadsheet(path: Path) -> None:
    """Two sheets with headers, a date, a formula with its value, and a hidden one."""
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet("价格表")
    sheet.write_row(0, 0, ["名称", "Price", "日期"])
    sheet.write_row(1, 0, ["龙井茶", 30.5])
    sheet.write_datetime(1, 2, datetime(2026, 11, 28), book.add_format({"num_format": "yyyy-mm-dd"}))
    sheet.write_row(2, 0, ["Oolong 🍵", 12])
    sheet.write_formula(3, 1, "=SUM(B2:B3)", None, 42.5)
    secret = book.add_worksheet("secret")
    secret.write(0, 0, "hidden words")
    secret.hide()
    book.close()


def slides(path: Path) -> None:
    """Three slides: words, a table, notes; one is hidden."""
    show = Presentation()
    first = show.slides.add_slide(show.slide_layouts[1])
    first.shapes.title.text = "书院 Shuyuan"
    first.placeholders[1].text = "检索\n微调 LoRA"
    first.notes_slide.notes_text_frame.text = "讲稿：先讲检索。"
    second = show.slides.add_slide(show.slide_layouts[5])
    second.shapes.title.text = "Figures"
    table = second.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table
    for at, word in enumerate(("route", "score", "lora", "0.8")):
        table.cell(at // 2, at % 2).text = word
    hidden = show.slides.add_slide(show.slide_layouts[5])
    hidden.shapes.title.text = "Not shown"
    hidden._element.set("show", "0")
    show.save(str(path))


def book(path: Path) -> None:
    """An e-book of two chapters, whose spine has another order than the archive."""
    container = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile '
    container += 'full-path="OEBPS/content.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    package = '<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
    package += "<dc:title>论语选</dc:title></metadata><manifest>"
    package += '<item id="a" href="b%20one.xhtml" media-type="application/xhtml+xml"/>'
    package += '<item id="b" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
    package += '<spine><itemref idref="a"/><itemref idref="b"/></spine></package>'
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("OEBPS/content.opf", package)
        archive.writestr("OEBPS/a.xhtml", "<html><body><h1>为政</h1><p>温故而知新。</p></body></html>")
        archive.writestr("OEBPS/b one.xhtml", "<html><body><h1>学而</h1><p>学而时习之。</p></body></html>")


def letter(path: Path) -> None:
    """A message in Chinese with two attachments and a forwarded message."""
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = (
        "会议纪要 minutes",
        "山长 <head@example.org>",
        "all@example.org",
    )
    message.set_content("明天九点开会。\nBring your books.\n")
    message.add_alternative("<p>HTML 版</p>", subtype="html")
    message.add_attachment("# 附件\n\n章程全文。".encode(), maintype="text", subtype="markdown", filename="章程.md")
    message.add_attachment(b"\x00\x01", maintype="application", subtype="octet-stream", filename="x.bin")
    inner = EmailMessage()
    inner["Subject"], inner["From"] = "Inner", "a@example.org"
    inner.set_content("forwarded words")
    message.add_attachment(inner)
    path.write_bytes(message.as_bytes())


def archive(path: Path) -> None:
    """Several files, one in a folder, one with a Chinese name as old Windows writes it."""
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("one.md", "# 一\n\n第一篇。")
        made.writestr("sub/two.txt", "second")
        made.writestr("photo.mp4", b"x")
        made.writestr(".hidden.md", "x")
        made.writestr("__MACOSX/one.md", "x")
        made.writestr("ZZZZ.md", "第三篇。")
    path.write_bytes(path.read_bytes().replace(b"ZZZZ", "中文".encode("gbk")))


def font(size: int) -> ImageFont.FreeTypeFont | None:
    """A font with Chinese, where the machine has one."""
    for name in ("NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc", "wqy-microhei.ttc", "DroidSansFallbackFull.ttf"):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return None


def picture(path: Path) -> None:
    """Two lines of English words, black on white."""
    made = Image.new("RGB", (900, 220), "white")
    draw = ImageDraw.Draw(made)
    draw.text((40, 30), "The rank of the adapter is sixteen.", fill="black", font=ImageFont.load_default(44))
    draw.text((40, 120), "Read before you teach.", fill="black", font=ImageFont.load_default(44))
    made.save(path)


def copied(name: str) -> Callable[[Path], None]:
    """A sample that lies in the folder of samples."""
    return lambda path: path.write_bytes((SAMPLES / name).read_bytes()) and None


MADE: dict[str, tuple[str, Callable[[Path], object], list[str]]] = {
    "text": ("a.txt", copied("sample.txt"), []),
    "markdown": ("a.md", copied("sample.md"), ["书院"]),
    "html": ("a.html", copied("sample.html"), ["把书交给模型，按图索骥。"]),
    "docx": ("a.docx", copied("sample.docx"), ["| k | recall |"]),
    "pdf": ("a.pdf", copied("sample.pdf"), ["the report says which of the routes worked"]),
    "xlsx": (
        "a.xlsx",
        spreadsheet,
        ["# 价格表", "名称: 龙井茶; Price: 30.5; 日期: 2026-11-28", "名称: Oolong 🍵; Price: 12", "Price: 42.5"],
    ),
    "pptx": ("a.pptx", slides, ["# 书院 Shuyuan", "- 微调 LoRA", "讲稿：先讲检索。", "route: lora; score: 0.8"]),
    "epub": ("a.epub", book, ["学而时习之。", "温故而知新。"]),
    "csv": (
        "a.csv",
        lambda path: path.write_bytes('名称,价格\n茶,30\n"多\n行",5\n酒,40\n'.encode("gbk")),
        ["名称: 茶; 价格: 30", "名称: 多 行; 价格: 5", "名称: 酒; 价格: 40"],
    ),
    "json": (
        "a.json",
        lambda path: path.write_text(json.dumps({"a": {"b": [1, 2], "c": "书"}, "d": [{"e": True}]}), "utf-8"),
        ["a.b: 1, 2", "a.c: 书", "d[1].e: true"],
    ),
    "email": ("a.eml", letter, ["# 会议纪要 minutes", "From: 山长", "明天九点开会。", "Attachments: 章程.md, x.bin"]),
    "code": ("a.py", lambda path: path.write_text(CODE, "utf-8"), ["def teach"]),
    "image": ("a.png", picture, ["The rank of the adapter is sixteen.", "Read before you teach."]),
    "zip": ("a.zip", archive, ["第一篇。"]),
}


def parts(path: Path) -> list[Part]:
    """All that one file gives."""
    return list(read_parts(path, path.name))


def document(path: Path) -> Document:
    """The one document of a file."""
    return read_file(path, path.name)


def test_every_format_has_a_sample() -> None:
    assert set(MADE) == set(choices("read"))


@pytest.mark.parametrize("kind", MADE)
def test_a_sample_is_read_and_points_back(kind: str, tmp_path: Path) -> None:
    name, make, words = MADE[kind]
    make(tmp_path / name)
    read = parts(tmp_path / name)
    assert [part.fault for part in read if part.fault] == []
    found = [part.document for part in read if part.document]
    assert found
    for made in found:
        assert made.source == name or made.source.startswith(f"{name}/")
        assert list(made.pages) == sorted(made.pages)
        assert all(0 <= heading.start < len(made.text) for heading in made.headings)
        for heading in made.headings:
            line = made.text[heading.start :].partition("\n")[0]
            assert heading.title.split()[0].strip("`") in line
        for box in made.boxes:
            assert 0 <= box.start < len(made.text)
            assert 0 <= box.left <= box.right <= 1000
            assert 0 <= box.top <= box.bottom <= 1000
            assert made.page_at(box.start) == box.page
    for word in words:
        assert word in found[0].text
    again = [part.document for part in parts(tmp_path / name) if part.document]
    assert again == found


def test_rows_of_text_tables_keep_step_with_the_file(tmp_path: Path) -> None:
    MADE["csv"][1](tmp_path / "a.csv")
    made = document(tmp_path / "a.csv")
    assert made.first_line == 1
    assert made.text.split("\n")[4] == "名称: 酒; 价格: 40"
    file = tmp_path / "a.jsonl"
    file.write_text('{"q": "一"}\n\n{"q": "三"}\n', "utf-8")
    assert document(file).text.split("\n")[2] == "q: 三"


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a;b\n1;2,5\n", ["a | b", "a: 1; b: 2,5"]),
        ("a\tb\n1\t2\n", ["a | b", "a: 1; b: 2"]),
        ("1,2\n3,4\n", ["1 | 2", "3; 4"]),
        ("名称，全角\n", ["名称，全角"]),
    ],
)
def test_how_cells_are_parted_is_found(tmp_path: Path, text: str, rows: list[str]) -> None:
    file = tmp_path / "t.csv"
    file.write_text(text, "utf-8")
    assert document(file).text.splitlines() == rows


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("pub fn go(x: i32) -> i32 {\n", ["go"]),
        ("func (s *Server) Run(ctx context.Context) error {\n", ["Run"]),
        ("export default class Page extends View {\n  async render() {\n", ["Page", "render"]),
        ("static int add(int a, int b)\n{\n return a+b;\n}\n", ["add"]),
        ("public class Main {\n    public static void main(String[] args) {\n", ["Main", "main"]),
        ("if (x) {\n  return f(x);\n}\nx = g(y)\n", []),
        ("async def 教(书):\n", ["教"]),
    ],
)
def test_what_code_defines_is_found(code: str, expected: list[str]) -> None:
    assert [heading.title.partition("(")[0] for heading in find_definitions(code)] == expected


def test_a_chapter_is_under_its_book_in_reading_order(tmp_path: Path) -> None:
    book(tmp_path / "b.epub")
    made = document(tmp_path / "b.epub")
    assert made.title == "论语选"
    assert [heading.title for heading in made.headings] == ["学而", "为政"]
    assert made.headings_at(made.text.index("温故")) == ("为政",)


def test_hidden_sheets_and_slides_are_not_read(tmp_path: Path) -> None:
    spreadsheet(tmp_path / "a.xlsx")
    slides(tmp_path / "a.pptx")
    assert "hidden words" not in document(tmp_path / "a.xlsx").text
    show = document(tmp_path / "a.pptx")
    assert "Not shown" not in show.text
    assert len(show.pages) == 2


def test_attachments_are_files_of_their_own(tmp_path: Path) -> None:
    letter(tmp_path / "m.eml")
    read = parts(tmp_path / "m.eml")
    assert [part.source for part in read if part.document] == ["m.eml", "m.eml/章程.md", "m.eml/message 3.eml"]
    assert [dict(part.skipped) for part in read if part.skipped] == [{"unknown kind .bin": 1}]
    assert "forwarded words" in next(
        part.document.text for part in read if part.document and "Inner" in part.document.title
    )


def test_files_in_an_archive_are_read_as_if_in_a_folder(tmp_path: Path) -> None:
    archive(tmp_path / "a.zip")
    read = parts(tmp_path / "a.zip")
    assert [part.source for part in read if part.document] == ["a.zip/one.md", "a.zip/sub/two.txt", "a.zip/中文.md"]
    assert [dict(part.skipped) for part in read if part.skipped] == [{"unknown kind .mp4": 1}]


def test_two_files_of_one_name_in_an_archive_are_both_kept(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr("a.md", "first")
        with pytest.warns(UserWarning, match="Duplicate"):
            made.writestr("a.md", "second")
    read = parts(tmp_path / "a.zip")
    assert {part.source for part in read} == {"a.zip", "a.zip/a.md", "a.zip/a.md (2)"}


def test_chinese_is_recognised_with_its_place(tmp_path: Path) -> None:
    letters = font(48)
    if letters is None:
        pytest.skip("this machine has no Chinese font")
    made = Image.new("RGB", (900, 200), "white")
    ImageDraw.Draw(made).text((60, 60), "书院默认的秩是十六。", fill="black", font=letters)
    made.save(tmp_path / "z.png")
    read = document(tmp_path / "z.png")
    assert "默认的秩是十六" in read.text
    (box,) = read.boxes
    assert box.left == pytest.approx(67, abs=15)
    assert box.top == pytest.approx(300, abs=60)


def test_without_a_recogniser_a_picture_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png")
    monkeypatch.setattr("shuyuan.read.image.installed", lambda: False)
    with pytest.raises(Fixable, match="no text recogniser") as error:
        document(tmp_path / "a.png")
    assert "shuyuan[ocr]" in error.value.hint


def scan(path: Path, letters: str = "Scanned words on a page.") -> None:
    """A PDF of one page that is a picture, and one with words."""
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    shown = Image.new("RGB", (1000, 1400), "white")
    ImageDraw.Draw(shown).text((100, 140), letters, fill="black", font=ImageFont.load_default(56))
    canvas = Canvas(str(path), pagesize=(500, 700))
    canvas.drawImage(ImageReader(shown), 0, 0, 500, 700)
    canvas.showPage()
    canvas.drawString(50, 600, "This page has a layer of text, so it is no picture.")
    canvas.save()


def test_a_scanned_page_is_recognised_among_others(tmp_path: Path) -> None:
    scan(tmp_path / "s.pdf")
    made = document(tmp_path / "s.pdf")
    assert "Scanned words on a page." in made.text
    assert made.page_at(made.text.index("layer of text")) == 2
    (box,) = made.boxes_of(0, 10)
    assert box.page == 1
    assert box.left == pytest.approx(100, abs=20)
    assert made.left_out == ""


def test_scanned_pages_that_cannot_be_read_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan(tmp_path / "s.pdf")
    monkeypatch.setattr("shuyuan.read.pdf.installed", lambda: False)
    made = document(tmp_path / "s.pdf")
    assert "1 of 2 pages are pictures" in made.left_out
    assert "shuyuan[ocr]" in made.left_out


def test_pieces_of_one_height_are_one_line() -> None:
    pieces = [ocr.Line("右", 500, 10, 600, 40), ocr.Line("左", 100, 12, 200, 42), ocr.Line("below", 100, 50, 300, 80)]
    assert [line.text for line in ocr.in_reading_order(pieces)] == ["左右", "below"]


def test_a_blank_picture_is_told(tmp_path: Path) -> None:
    Image.fromarray(np.full((200, 200, 3), 255, np.uint8)).save(tmp_path / "b.png")
    with pytest.raises(Fixable, match="no words were found"):
        document(tmp_path / "b.png")


def test_a_table_of_a_pdf_is_markdown_in_its_place(tmp_path: Path) -> None:
    from reportlab.lib import colors
    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.platypus import Paragraph, SimpleDocTemplate, Table

    cells = [["route", "learns", "score"], ["retrieve", "nothing", "0.71"], ["lora", "an adapter", "0.80"]]
    style = getSampleStyleSheet()["Normal"]
    table = Table(cells, colWidths=[120, 120, 120], style=[("GRID", (0, 0), (-1, -1), 1, colors.black)])
    story = [
        Paragraph("What came out of the exam is shown in this table.", style),
        table,
        Paragraph("After it.", style),
    ]
    SimpleDocTemplate(str(tmp_path / "t.pdf")).build(story)
    text = document(tmp_path / "t.pdf").text
    assert (
        "| route | learns | score |\n| --- | --- | --- |\n| retrieve | nothing | 0.71 |\n| lora | an adapter | 0.80 |"
        in text
    )
    assert text.index("What came out") < text.index("| route") < text.index("After it.")


def test_boxes_of_a_pdf_are_where_the_words_stand() -> None:
    made = read_file(SAMPLES / "sample.pdf", "sample.pdf")
    start = made.text.index("the report says")
    (box,) = made.boxes_of(start, start + 20)
    assert box.page == 2
    assert 0 < box.left < box.right <= 1000
    with io.BytesIO((SAMPLES / "sample.pdf").read_bytes()) as stream:
        import pypdfium2

        page = pypdfium2.PdfDocument(stream)[1]
        width, height = page.get_size()
        found = page.get_textpage()
        edges = (box.left / 1000 * width, (1 - box.bottom / 1000) * height - 2)
        assert "the report" in found.get_text_bounded(
            *edges, box.right / 1000 * width + 2, (1 - box.top / 1000) * height + 2
        )
