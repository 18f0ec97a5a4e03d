"""What the report says, in English and Chinese; the words themselves are in `data/words.toml`."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from markupsafe import Markup, escape

Language = Literal["en", "zh", "both"]
_MARKUP = re.compile("</?[bi]>")


@cache
def words() -> dict[str, dict[str, str]]:
    """Key → language → text. `<b>` is bold, `<i>` small; `{names}` are filled in."""
    text = (files("shuyuan.examine") / "data" / "words.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


class Speech:
    """Says the words in one language, or in both with the reader's choice deciding what shows."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def __call__(self, key: str, **values: Any) -> Markup:
        """HTML; the values are escaped. Both languages: two spans of which the style sheet shows one."""
        english, chinese = (Markup(words()[key][name]).format(**values) for name in ("en", "zh"))
        if self.language != "both":
            return chinese if self.language == "zh" else english
        return Markup('<span class="en" lang="en">{}</span><span class="zh" lang="zh-Hans">{}</span>').format(
            english, chinese
        )

    def named(self, name: str) -> Markup:
        """The word for a paper or a figure; its own name where there is none, as for those of other packages."""
        return self(f"f_{name}") if f"f_{name}" in words() else escape(name)

    def svg(self, key: str, **values: Any) -> Markup:
        """The same inside an SVG text."""
        return Markup(str(self(key, **values)).replace("<span", "<tspan").replace("</span", "</tspan"))


def plain(key: str, language: str, **values: Any) -> str:
    """Text without markup, for Markdown and the terminal."""
    text = words()[key]["zh" if language == "zh" else "en"].format(**values)
    return _MARKUP.sub("", text)
