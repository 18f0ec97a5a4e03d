"""A page of a file as a picture, over which the boxes of its passages can be drawn; called in a reader's process."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

from shuyuan.base.errors import Fixable
from shuyuan.read.image import Image
from shuyuan.read.ocr import MOST_PIXELS
from shuyuan.read.pdf import Pdf

LONGEST_SIDE = 1_600  # pixels: sharp on a screen


def page_picture(path: Path, number: int) -> bytes:
    """Page `number`, from 1, of a PDF or a file of pictures, as PNG, turned as a reader sees it. Raises Fixable."""
    data = path.read_bytes()
    if not Pdf.recognises(data) and not Image.recognises(data):
        raise Fixable("this file has no pages that can be drawn", "open its text instead", path)
    try:
        drawn = _pdf(data, number) if Pdf.recognises(data) else _frame(data, number)
    except (IndexError, EOFError):
        raise Fixable(f"it has no page {number}", "add the file again", path) from None
    except Fixable:
        raise
    except Exception as error:  # pypdfium2, ctypes and Pillow raise their own for broken files
        raise Fixable(f"page {number} cannot be drawn: {error}", "open its text instead", path) from None
    out = io.BytesIO()
    drawn.save(out, "PNG")
    return out.getvalue()


def _pdf(data: bytes, number: int) -> Any:
    import pypdfium2

    pdf = pypdfium2.PdfDocument(data)
    if not 1 <= number <= len(pdf):
        raise IndexError
    page = pdf[number - 1]
    return page.render(scale=LONGEST_SIDE / max(1.0, *page.get_size())).to_pil()


def _frame(data: bytes, number: int) -> Any:
    from PIL import Image as Pictures
    from PIL import ImageOps

    Pictures.MAX_IMAGE_PIXELS = None  # the limit is ours, and told in our words
    with warnings.catch_warnings(action="ignore"):
        picture = Pictures.open(io.BytesIO(data))
        if picture.width * picture.height > MOST_PIXELS:
            raise Fixable(f"the picture is too large: {picture.width:,} × {picture.height:,}", "make it smaller")
        picture.seek(number - 1)
        shown = ImageOps.exif_transpose(picture).convert("RGB")
        shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        return shown
