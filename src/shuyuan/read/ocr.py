"""Pictures of words → words with their places, by RapidOCR's small models; Chinese and English."""

from __future__ import annotations

import importlib.util
import logging
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from shuyuan.base.errors import Fixable
from shuyuan.read.formats import OCR_HINT
from shuyuan.read.layout import CJK

MOST_PIXELS = 60_000_000  # a page of A3 at 400 dots an inch
LONGEST_SIDE = 3_000  # more does not help the recogniser and costs time
_SURE = 0.5


class Line(NamedTuple):
    """A recognised line and its edges in thousandths of the picture's width and height, from its top left."""

    text: str
    left: int
    top: int
    right: int
    bottom: int


def installed() -> bool:
    """Whether pictures can be read here."""
    return importlib.util.find_spec("rapidocr") is not None and importlib.util.find_spec("onnxruntime") is not None


def recognise(picture: Any, place: str | Path) -> list[Line]:
    """The lines of a picture [height, width, 3] (RGB, 8 bit), from top to bottom, columns one after another."""
    if not installed():
        raise Fixable("this is a picture of words, and no text recogniser is installed", OCR_HINT, place)
    found = _engine()(picture[:, :, ::-1])  # RapidOCR takes blue first, as OpenCV has it
    if found.boxes is None or found.txts is None:
        return []
    height, width = picture.shape[:2]
    lines = []
    for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True):
        if score >= _SURE and text.strip():
            (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
            edges = (left / width, top / height, right / width, bottom / height)
            lines.append(Line(text.strip(), *(round(1000 * float(edge)) for edge in edges)))
    return in_reading_order(lines)


def in_reading_order(lines: list[Line]) -> list[Line]:
    """Pieces that stand at one height are one line, joined from left to right."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.top + line.bottom):
        row = rows[-1] if rows else []
        middle = (line.top + line.bottom) / 2
        if row and row[-1].top < middle < row[-1].bottom and all(_beside(line, other) for other in row):
            row.append(line)
        else:
            rows.append([line])
    return [_joined(sorted(row, key=lambda line: line.left)) for row in rows]


def _beside(line: Line, other: Line) -> bool:
    return line.left >= other.right - 5 or line.right <= other.left + 5


def _joined(row: list[Line]) -> Line:
    text = row[0].text
    for line in row[1:]:
        text += ("" if CJK.match(text[-1]) and CJK.match(line.text[0]) else " ") + line.text
    edges = (min(x.left for x in row), min(x.top for x in row), max(x.right for x in row), max(x.bottom for x in row))
    return Line(text, *edges)


@cache
def _engine() -> Any:
    """The recogniser, loaded once a process; its weights are in its package."""
    logging.disable(logging.WARNING)
    from rapidocr import RapidOCR

    return RapidOCR(params={"Global.log_level": "error", "EngineConfig.onnxruntime.intra_op_num_threads": 1})
