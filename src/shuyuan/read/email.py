"""E-mail (EML): subject, people and date above the words; attachments are read as files of their own."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage, MIMEPart
from pathlib import Path
from typing import ClassVar

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document, Heading
from shuyuan.read.encoding import decode, tidy
from shuyuan.read.formats import Format, make_document
from shuyuan.read.html import to_markdown

MOST_PARTS = 1_000
_DEEPEST = 20
_SHOWN = ("From", "To", "Cc", "Date")
_PLAIN_NAME = {"/": "_", "\\": "_", ":": "_"}


class Email(Format):
    """E-mail."""

    suffixes: ClassVar[tuple[str, ...]] = (".eml",)
    holds_files: ClassVar[bool] = True

    def read(self, data: bytes, path: Path, source: str) -> Document:
        """Read one message: its plain words, or its HTML where it has no others. Nothing it links to is fetched."""
        message = _parsed(data, path)
        subject = _header(message, "Subject")
        if not subject and not any(_header(message, name) for name in _SHOWN):
            raise Fixable("this is not an e-mail: it has no subject and no sender", "name it .txt", path)
        people = [f"{name}: {value}" for name in _SHOWN if (value := _header(message, name))]
        body = message.get_body(("plain", "html"))
        words = _words(body, path) if body is not None else ""
        if attached := [_plain_name(part.get_filename() or "") for part in message.iter_attachments()]:
            people.append(f"Attachments: {', '.join(filter(None, attached)) or len(attached)}")
        text = "\n".join([f"# {subject}", "", *people, "", words.strip(), ""])
        return make_document(
            path, source, data, text, title=subject, headings=[Heading(0, 1, subject)] if subject else ()
        )

    def unpack(self, data: bytes, path: Path) -> Iterator[tuple[str, bytes | Fixable]]:
        """The attachments, messages that are forwarded inside too."""
        for number, part in enumerate(_parsed(data, path).iter_attachments(), start=1):
            name = _plain_name(part.get_filename() or "")
            if part.get_content_type() == "message/rfc822":
                yield name or f"message {number}.eml", part.get_content().as_bytes()
            elif name:
                content = part.get_payload(decode=True)
                yield name, content if isinstance(content, bytes) else b""


def _parsed(data: bytes, path: Path) -> EmailMessage:
    try:
        message = email.message_from_bytes(data, _class=EmailMessage, policy=email.policy.default)
        parts = _count(message)
    except RecursionError:
        raise _nested(path) from None
    if parts > MOST_PARTS:
        raise Fixable(f"refused: it is made of {parts:,} parts", "save what you need of it", path)
    return message


def _count(message: EmailMessage, depth: int = 0) -> int:
    if depth > _DEEPEST:
        raise RecursionError
    inner = message.get_payload()
    return (
        1 + sum(_count(part, depth + 1) for part in inner if isinstance(part, EmailMessage))
        if message.is_multipart()
        else 1
    )


def _nested(path: Path) -> Fixable:
    return Fixable("refused: messages in messages without end", "save what you need of it", path)


def _header(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(tidy(str(message.get(name, ""))).split())
    except Exception:  # the parser of broken headers raises whatever it stumbles over
        return ""


def _words(body: MIMEPart, path: Path) -> str:
    raw = body.get_payload(decode=True)
    content = raw if isinstance(raw, bytes) else b""
    charset = body.get_content_charset() or ""
    try:
        words = tidy(content.decode("gb18030" if charset in ("gb2312", "gbk") else charset or "utf-8"))
    except (LookupError, UnicodeDecodeError):
        words = decode(content, path)  # the message is wrong about itself
    return to_markdown(words, path)[0] if body.get_content_type() == "text/html" else words


def _plain_name(name: str) -> str:
    """An attachment's name without a way out of its message."""
    name = tidy(" ".join(name.split()))
    return "".join(_PLAIN_NAME.get(character, character) for character in name).lstrip(".")
