"""Zip archives, which Word files and e-books are too: opened only where they are harmless."""

from __future__ import annotations

import io
import stat
import unicodedata
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from shuyuan.base.errors import Fixable
from shuyuan.base.progress import human_bytes
from shuyuan.read.encoding import decode

MOST_ENTRIES = 5_000
MOST_UNPACKED_BYTES = 400_000_000
MOST_RATIO = 100  # ordinary documents pack 5 to 20 times; a bomb packs a thousand times
MOST_TAGS = 3_000_000  # the parsers keep about 300 bytes for each
BEGINS = (b"PK\x03\x04", b"PK\x05\x06")
_KINDS = {
    **dict.fromkeys((".docx", ".docm"), "Word document"),
    **dict.fromkeys((".pptx", ".pptm"), "PowerPoint file"),
    **dict.fromkeys((".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"), "spreadsheet"),
    ".epub": "e-book",
}
_BROKEN = (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, ValueError, zlib.error)


def holds(data: bytes, part: str) -> bool:
    """Whether `data` is a zip archive with a part of that name."""
    if not data.startswith(BEGINS):
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return part in archive.NameToInfo
    except _BROKEN:
        return False


def open_archive(data: bytes, path: Path) -> zipfile.ZipFile:
    """The archive, if it is whole, has no password and would not unpack without end; else a `Fixable`."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _BROKEN as error:
        raise broken(path, error) from None
    entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > MOST_ENTRIES or unpacked > min(MOST_UNPACKED_BYTES, max(len(data) * MOST_RATIO, 10**6)):
        raise Fixable(
            f"refused: it would unpack to {len(entries):,} parts of {human_bytes(unpacked)} in all",
            "unpack it and add what is in it, or open it in its program and save it again",
            path,
        )
    if any(entry.flag_bits & 1 for entry in entries):
        raise Fixable("this archive has a password", "unpack it with its password and add what is in it", path)
    return archive


def part_of(archive: zipfile.ZipFile, entry: str | zipfile.ZipInfo, path: Path) -> bytes:
    """The content of one part; a missing or broken one is a `Fixable`."""
    try:
        return archive.read(entry)
    except KeyError:
        raise broken(path, f"it has no part '{entry}'") from None
    except _BROKEN as error:
        raise broken(path, error) from None


def checked_xml(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse an archive whose XML defines entities, or has so many tags that a parser would drown in them."""
    tags = 0
    for entry in archive.infolist():
        if entry.filename.endswith((".xml", ".rels", ".opf", ".ncx")):
            tags += _count_tags(part_of(archive, entry, path), path, (b"<!DOCTYPE", b"<!ENTITY"))
    if tags > MOST_TAGS:
        raise Fixable(f"refused: it is made of {tags:,} parts", "split it into smaller documents", path)


def parsed_xml(content: bytes, path: Path) -> Any:
    """The root of an XML part, parsed without entities, definitions and network."""
    from lxml import etree

    _count_tags(content, path, (b"<!ENTITY",))  # old e-books name their public definition, which is not loaded
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
    try:
        return etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        raise broken(path, error) from None


def entry_name(entry: zipfile.ZipInfo) -> str:
    """The name of an entry as a plain relative one; what leads elsewhere is a `Fixable` without a place.

    Names that do not say they are UTF-8 are read as what Chinese and older systems write.
    """
    name = entry.filename
    if not entry.flag_bits & 0x800 and not name.isascii():
        with suppress(UnicodeEncodeError, Fixable):  # then the name stays as zipfile reads it
            name = decode(name.encode("cp437"))
    parts = name.split("/")
    odd = any(unicodedata.category(character)[0] == "C" for character in name)
    if odd or "\\" in name or ".." in parts or name.startswith("/") or ":" in parts[0]:
        raise Fixable(
            f"refused: the name {name[:80]!r} in it leads out of the archive", "pack it again with plain names"
        )
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise Fixable(f"refused: '{name}' in it is a link", "pack the file itself")
    return name


def broken(path: Path, why: object) -> Fixable:
    """What is said of an archive that cannot be read."""
    kind = _KINDS.get(path.suffix.lower(), "zip archive")
    said = str(why) or type(why).__name__
    return Fixable(f"not a whole {kind}: {said}", "fetch it again, or open and save it in its own program", path)


def _count_tags(xml: bytes, path: Path, forbidden: tuple[bytes, ...]) -> int:
    if xml.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in xml[:64]:
        xml = decode(xml, path).encode()
    if any(word in xml for word in forbidden):
        raise Fixable(
            "refused: its XML defines entities, which no document needs",
            "open it in its program and save it again",
            path,
        )
    return xml.count(b"<")
