"""Pages as pictures: drawn in the confined process, turned as they are read, refused in one line if they cannot be."""

from __future__ import annotations

import io
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image as Pictures

from shuyuan.base.errors import Fixable
from shuyuan.read.apart import Reader
from shuyuan.read.picture import LONGEST_SIDE

SAMPLES = Path(__file__).parent / "samples"


@pytest.fixture(scope="module")
def reader() -> Reader:
    reader = Reader(60)
    yield reader
    reader.close()


def drawn(reader: Reader, path: Path, page: int = 1) -> Pictures.Image:
    return Pictures.open(io.BytesIO(reader.picture(path, page)))


def pdf(path: Path, lines: list[tuple[float, str]], pages: int = 1, turned: int = 0) -> Path:
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path), pagesize=(400, 600))
    for _ in range(pages):
        for y, text in lines:
            canvas.drawString(40, y, text)
        canvas.showPage()
    canvas.save()
    if turned:
        made = pypdfium2.PdfDocument(path.read_bytes())
        for page in made:
            page.set_rotation(turned)
        made.save(path)
    return path


@pytest.mark.parametrize("turned", [0, 90])
def test_the_boxes_of_a_passage_lie_on_its_ink(reader: Reader, tmp_path: Path, turned: int) -> None:
    file = pdf(tmp_path / "书.pdf", [(500, "The library opens at nine."), (80, "It closes at five.")], 2, turned)
    (part,) = reader.read(file, "书.pdf")
    document = part.document
    start = document.text.rindex("It closes")
    (box,) = document.boxes_of(start, start + len("It closes at five."))
    assert box.page == 2
    page = drawn(reader, file, 2).convert("L")
    assert max(page.size) in range(LONGEST_SIDE - 2, LONGEST_SIDE + 3)
    assert (page.width > page.height) == bool(turned)
    width, height = page.width / 1000, page.height / 1000
    edges = tuple(map(round, (box.left * width, box.top * height, box.right * width, box.bottom * height)))
    assert page.crop(edges).getextrema()[0] < 100, "there is ink in the box"
    page.paste(255, (edges[0] - 3, edges[1] - 3, edges[2] + 3, edges[3] + 3))  # thousandths are two pixels
    near = (edges[0] - 12, edges[1] - 12, edges[2] + 12, edges[3] + 12)
    assert page.crop(near).getextrema()[0] > 200, "and none just around it"


def test_pictures_are_turned_and_made_smaller(reader: Reader, tmp_path: Path) -> None:
    file = tmp_path / "照片.jpg"
    exif = Pictures.Exif()
    exif[0x0112] = 6
    Pictures.new("RGB", (4000, 1000), "white").save(file, exif=exif)
    assert drawn(reader, file).size == (400, 1600)
    fax = tmp_path / "fax.tif"
    frames = [Pictures.new("L", (20 * n, 20), "white") for n in (1, 2)]
    frames[0].save(fax, save_all=True, append_images=frames[1:])
    assert drawn(reader, fax, 2).size == (40, 20)


def test_what_cannot_be_drawn_is_refused_and_the_reader_goes_on(reader: Reader, tmp_path: Path) -> None:
    whole = pdf(tmp_path / "whole.pdf", [(500, "书院 x")])
    (tmp_path / "cut.pdf").write_bytes(whole.read_bytes()[:200] + b"startxref")
    (tmp_path / "text.md").write_text("# 书", encoding="utf-8")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    for name, page, said in (
        ("whole.pdf", 2, "no page 2"),
        ("whole.pdf", 0, "no page 0"),
        ("cut.pdf", 1, "cannot be drawn"),
        ("text.md", 1, "no pages"),
        ("cut.png", 1, "cannot be drawn"),
        ("none.pdf", 1, "cannot be drawn"),
    ):
        with pytest.raises(Fixable, match=said):
            reader.picture(tmp_path / name, page)
    assert drawn(reader, whole).format == "PNG"
