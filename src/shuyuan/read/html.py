"""HTML: the main content as Markdown, without navigation, scripts and hidden parts."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any, ClassVar

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document, Heading
from shuyuan.read.encoding import decode, tidy
from shuyuan.read.formats import HEAD_BYTES, Format, make_document

_BEGINS = re.compile(
    rb"^(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)[\s>]", re.I | re.S
)
_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w-]+)", re.I)
_NEVER = [
    "script", "style", "noscript", "template", "svg", "iframe", "object", "embed", "canvas", "nav", "aside", "head",
    "button", "input", "select", "textarea", "dialog", "footer",
]  # fmt: skip
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_MARK = "\ue000"  # a private character set before each heading, so that its place is exact, not guessed
_MARKED = re.compile(rf"{_MARK}(#{{1,6}}) ([^\n]*)")


class Html(Format):
    """HTML pages."""

    suffixes: ClassVar[tuple[str, ...]] = (".html", ".htm", ".xhtml")

    @classmethod
    def recognises(cls, data: bytes) -> bool:
        """An HTML page says so in its first tag."""
        return bool(_BEGINS.match(data[:HEAD_BYTES]))

    def read(self, data: bytes, path: Path, source: str) -> Document:
        """Read the main content of one page: `<main>` or `<article>` where there is one, else the body."""
        text, headings, title = to_markdown(decoded_page(data, path), path)
        return make_document(path, source, data, text, title="" if headings else title, headings=headings)


def to_markdown(page: str, place: Path) -> tuple[str, list[Heading], str]:
    """An HTML page → (Markdown text, headings with exact offsets, its `<title>`)."""
    from bs4 import BeautifulSoup

    try:
        soup = BeautifulSoup(page.replace(_MARK, ""), "lxml")
        title = soup.title.get_text(" ") if soup.title else ""
        marked = _converter().convert_soup(_main_content(soup))
    except RecursionError:
        raise Fixable("its tags are nested too deeply", "save the page again from a browser", place) from None
    marked = re.sub(r"[^\S\n]+\n", "\n", marked.replace("\xa0", " "))
    marked = re.sub(r"\n{3,}", "\n\n", tidy(marked)).strip() + "\n"
    headings = [
        Heading(found.start() - marks_before * len(_MARK), len(found[1]), found[2].replace("`", ""))
        for marks_before, found in enumerate(_MARKED.finditer(marked))
    ]
    return marked.replace(_MARK, ""), headings, title


def _main_content(soup: Any) -> Any:
    main = soup.find("main") or soup.find(attrs={"role": "main"})
    articles = soup.find_all("article", limit=2)
    content = main or (articles[0] if len(articles) == 1 else soup.body or soup)
    if content.name not in ("main", "article"):
        for header in content.find_all("header"):
            if not header.find_parent("article"):  # an article's header holds its title, a page's its menu
                header.decompose()
    for tag in content.find_all(_NEVER):
        tag.decompose()
    _drop_hidden(content)
    return content


def _drop_hidden(content: Any) -> None:
    """Drop what no reader sees.

    Of several siblings that are all hidden a script shows one, so the last stays; where all words of the page are
    hidden, a script shows them, so they stay.
    """
    hidden = [
        tag
        for tag in content.find_all(True)
        if tag.has_attr("hidden") or tag.get("aria-hidden") == "true" or _HIDDEN_STYLE.search(tag.get("style") or "")
    ]
    marked = {id(tag) for tag in hidden}
    if not any(text.strip() and not any(id(above) in marked for above in text.parents) for text in content.strings):
        return
    shown = set()
    for parent in {id(tag.parent): tag.parent for tag in hidden}.values():
        children = [child for child in parent.children if getattr(child, "name", None) or str(child).strip()]
        if len(children) > 1 and all(id(child) in marked for child in children):
            shown.add(id(children[-1]))
    for tag in hidden:
        if id(tag) not in shown and not tag.decomposed:
            tag.decompose()


def _converter() -> Any:
    from markdownify import MarkdownConverter

    class Converter(MarkdownConverter):
        """Words only: links, pictures and emphasis would stand between a reader and an exact quotation."""

        def convert_hN(self, n: int, el: Any, text: str, parent_tags: set[str]) -> str:  # noqa: N802
            if "_inline" in parent_tags or not text.strip():
                return text
            return f"\n\n{_MARK}{'#' * max(1, min(n, 6))} {' '.join(text.split())}\n\n"

        def convert_img(self, el: Any, text: str, parent_tags: set[str]) -> str:
            return el.attrs.get("alt") or ""

    return Converter(
        heading_style="ATX",
        bullets="-",
        table_infer_header=True,
        strip=["a", "b", "strong", "em", "i"],
        escape_asterisks=False,
        escape_underscores=False,
        escape_misc=False,
    )


def decoded_page(data: bytes, path: Path) -> str:
    """The text of a page in the encoding it declares, if that is true, else in the one its bytes show."""
    declared = _CHARSET.search(data[:4096])
    if declared and not data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        name = declared[1].decode("ascii", "replace").lower()
        try:
            return data.decode("gb18030" if name in ("gb2312", "gbk") else name)
        except (LookupError, UnicodeDecodeError):
            pass  # the page is wrong about itself
    return decode(data, path)
