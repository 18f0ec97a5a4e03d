"""Source code of common languages, as it is: definitions are headings, and passages point to lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from shuyuan.base.records import Document, Heading
from shuyuan.read.encoding import decode
from shuyuan.read.formats import Format, make_document

_MODIFIERS = (
    r"(?:export |default |public |private |protected |internal |static |final |abstract |sealed |partial |virtual "
    r"|override |async |unsafe |const |extern |inline |pub(?:\([\w:]+\))? |open |data )*"
)
_DEFINES = re.compile(
    rf"^(?P<indent>[ \t]*){_MODIFIERS}"
    r"(?:(?:class|struct|enum|trait|interface|impl|module|namespace|record|protocol|object|type|def|fn|func|fun|function"
    r"|sub|procedure)\b(?:\s*\([^)\n]{0,80}\))?[ \t]+(?P<name>[\w$:.<>~?!']+)"
    r"|(?P<c>[A-Za-z_][\w:<>*&, ]{0,80}[ *&])(?P<function>[A-Za-z_~][\w:~]*)\([^;{}\n]*\)"
    r"[ \t]*(?:const[ \t]*)?\{?[ \t]*$)",
    re.MULTILINE,
)
_NOT_TYPES = ("return", "else", "new", "throw", "delete", "case", "await", "yield", "if", "while", "for", "switch")
_TAB = 4


class Code(Format):
    """Source code."""

    suffixes: ClassVar[tuple[str, ...]] = (
        ".py", ".pyi", ".js", ".mjs", ".jsx", ".ts", ".tsx", ".java", ".kt", ".scala", ".c", ".h", ".cc", ".cpp",
        ".hpp", ".cs", ".go", ".rs", ".swift", ".rb", ".php", ".pl", ".lua", ".r", ".jl", ".sh", ".bash", ".ps1",
        ".sql", ".css", ".toml", ".yaml", ".yml", ".ini", ".cfg",
    )  # fmt: skip

    def read(self, data: bytes, path: Path, source: str) -> Document:
        """Read one file; what it defines (classes, functions) becomes headings, deeper where it is indented."""
        text = decode(data, path)
        return make_document(
            path, source, data, text, title=Path(source).name, headings=find_definitions(text), first_line=1
        )


def find_definitions(text: str) -> list[Heading]:
    """Classes and functions with the offset of the line that names them; the level grows with the indentation."""
    found: list[Heading] = []
    for match in _DEFINES.finditer(text):
        if match["c"] and match["c"].split()[0] in _NOT_TYPES:
            continue
        indent = len(match["indent"].expandtabs(_TAB))
        name = match["name"] or match["function"]
        found.append(Heading(match.start(), 1 + min(5, indent // _TAB), name.rstrip(":.")))
    return found
