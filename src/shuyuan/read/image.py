"""Pictures of words (PNG, JPEG, TIFF, WebP, BMP): the words, recognised in Chinese and English."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import ClassVar

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Box, Document
from shuyuan.read.formats import OCR_HINT, Format, make_document
from shuyuan.read.ocr import LONGEST_SIDE, MOST_PIXELS, installed, recognise

MOST_FRAMES = 200  # of a TIFF: a fax or a scanned book
_BEGINS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"BM", b"GIF8")


class Image(Format):
    """Pictures of words."""

    suffixes: ClassVar[tuple[str, ...]] = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
    always_shows: ClassVar[bool] = True
    pictured: ClassVar[bool] = True

    @classmethod
    def recognises(cls, data: bytes) -> bool:
        """By the first bytes of each kind."""
        webp = data.startswith(b"RIFF") and data[8:12] == b"WEBP"
        return webp or (data.startswith(_BEGINS) and b"\x00" in data[:64])

    def read(self, data: bytes, path: Path, source: str) -> Document:
        """Read one picture; each of several in one file is a page. Needs the extra `ocr`."""
        import numpy as np
        from PIL import Image as Pictures
        from PIL import ImageOps, ImageSequence

        if not installed():
            raise Fixable("this is a picture, and no text recogniser is installed", OCR_HINT, path)
        Pictures.MAX_IMAGE_PIXELS = None  # the limit is ours, and told in our words
        text, pages, boxes = "", list[int](), list[Box]()
        try:
            with warnings.catch_warnings(action="ignore"), Pictures.open(io.BytesIO(data)) as picture:
                if picture.width * picture.height > MOST_PIXELS:
                    raise Fixable(
                        f"the picture is too large: {picture.width:,} × {picture.height:,}", "make it smaller", path
                    )
                for number, frame in enumerate(ImageSequence.Iterator(picture), start=1):
                    if number > MOST_FRAMES:
                        raise Fixable(f"it holds more than {MOST_FRAMES} pictures", "split it", path)
                    shown = ImageOps.exif_transpose(frame).convert("RGB")
                    shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
                    pages.append(len(text))
                    for line in recognise(np.asarray(shown), path):
                        boxes.append(Box(len(text), number, *line[1:]))
                        text += line.text + "\n"
        except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for broken files
            raise Fixable(f"this picture is broken: {error}", "save it again in its program", path) from None
        if not text:
            raise Fixable("no words were found in this picture", "leave it out with --exclude", path)
        return make_document(path, source, data, text, title=Path(source).stem, pages=pages, boxes=boxes)
