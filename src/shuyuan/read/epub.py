"""E-books (EPUB): the chapters in reading order, as Markdown with their headings."""

from __future__ import annotations

import posixpath
import zipfile
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

from shuyuan.base.records import Document, Heading
from shuyuan.read.archive import broken, holds, open_archive, parsed_xml, part_of
from shuyuan.read.encoding import tidy
from shuyuan.read.formats import Format, make_document
from shuyuan.read.html import decoded_page, to_markdown

_CONTAINER = "META-INF/container.xml"
_PAGES = ("application/xhtml+xml", "text/html")


class Epub(Format):
    """E-books."""

    suffixes: ClassVar[tuple[str, ...]] = (".epub",)
    always_shows: ClassVar[bool] = True

    @classmethod
    def recognises(cls, data: bytes) -> bool:
        """A zip archive with a book's container file."""
        return holds(data, _CONTAINER)

    def read(self, data: bytes, path: Path, source: str) -> Document:
        """Read the chapters that the book's spine names; what it refers to outside of the archive is not looked at."""
        text, headings = "", list[Heading]()
        with open_archive(data, path) as archive:
            title, chapters = _spine(archive, path)
            for chapter in chapters:
                page, found, _ = to_markdown(decoded_page(part_of(archive, chapter, path), path), path)
                if page.strip():
                    headings += [Heading(len(text) + one.start, one.level, one.title) for one in found]
                    text += page + "\n"
        return make_document(path, source, data, text, title=title, headings=headings)


def _spine(archive: zipfile.ZipFile, path: Path) -> tuple[str, list[str]]:
    """The book's title and the names of its pages in reading order, those that are in the archive."""
    container = parsed_xml(part_of(archive, _CONTAINER, path), path)
    package_name = next((root.get("full-path") for root in _all(container, "rootfile") if root.get("full-path")), "")
    package = parsed_xml(part_of(archive, package_name, path), path)
    folder = posixpath.dirname(package_name)
    items = {item.get("id"): item for item in _all(package, "item")}
    pages = []
    for reference in _all(package, "itemref"):
        item = items.get(reference.get("idref"))
        if item is not None and item.get("media-type") in _PAGES:
            name = posixpath.normpath(posixpath.join(folder, unquote((item.get("href") or "").partition("#")[0])))
            if name in archive.NameToInfo and name not in pages:
                pages.append(name)
    if not pages:
        raise broken(path, "its spine names no page that is in it")
    titles = ["".join(title.itertext()) for title in _all(package, "title")]
    return tidy(titles[0]) if titles else "", pages


def _all(root: Any, name: str) -> Any:
    return root.iter(f"{{*}}{name}")
