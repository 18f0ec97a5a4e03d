"""How well and how fast files are read: a PDF in two languages, 600 small web pages, and pages that are pictures.

- PDF: Debian's reference. The truth is the same book as web pages: words in windows of 12 characters, table rows cell
  by cell; headings are counted against the outline, and have to stand where they say.
- Web pages: LibreOffice's help. Files a CPU-second in one process, in confined processes that stay (as `add` reads
  them), and in a new process for each file.
- Pictures: pages of the PDF drawn at 150 dots an inch and recognised; the truth is their text layer, in windows of 6.

    python bench/reading.py FOLDER          # FOLDER as for bench/documents.py, which fetches the packages
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

from bs4 import BeautifulSoup
from documents import machine

from shuyuan.base.files import write_json
from shuyuan.base.progress import say
from shuyuan.base.records import Document
from shuyuan.read.apart import Readers
from shuyuan.read.reading import read_file

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("debian-reference-zh-cn", "debian-reference-en", "libreoffice-help-zh-cn")
BOOK = "usr/share/debian-reference"
HELP = "usr/share/libreoffice/help/zh-CN"
LANGUAGES = {"zh": "zh-cn", "en": "en"}
PAGES_DRAWN = 3  # of each language
QUOTES = re.compile(r"[\s\"'`´‘’“”„|\\…]")


def main() -> None:
    """Fetch, read, measure, write bench/results/reading.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the packages are kept between runs")
    parser.add_argument("--files", type=int, default=600, help="web pages to read")
    parser.add_argument("--drawn", type=int, default=PAGES_DRAWN, help="pages to recognise in each language")
    given = parser.parse_args()
    root = fetched(given.folder)
    record: dict[str, object] = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "command": f"python bench/reading.py FOLDER --files {given.files} --drawn {given.drawn}",
        "versions": {name: version(name) for name in ("pypdfium2", "liteparse", "rapidocr", "lxml", "markdownify")},
    }
    record["pdf"] = {name: read_book(root / BOOK, code) for name, code in LANGUAGES.items()}
    record["html"] = read_pages(sorted((root / HELP).rglob("*.html")), given.files)
    record["ocr"] = {name: recognised(root / BOOK, code, given.drawn) for name, code in LANGUAGES.items()}
    write_json(RESULTS / "reading.json", record)
    (RESULTS / "reading.md").write_text(drawn(record), encoding="utf-8")
    say(drawn(record))


def fetched(folder: Path) -> Path:
    """The unpacked packages."""
    root = folder / "root"
    root.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        if not list(folder.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
        (deb,) = folder.glob(f"{package}_*.deb")
        if not (root / f".{package}").exists():
            subprocess.run(["dpkg-deb", "-x", deb, root], check=True)
            (root / f".{package}").touch()
    return root


def read_book(folder: Path, code: str) -> dict[str, object]:
    """Words, headings, tables and speed of one PDF."""
    import pypdfium2

    file = folder / f"debian-reference.{code}.pdf"
    read_file(file, file.name)  # imports and models are not counted
    began = time.process_time()
    document = read_file(file, file.name)
    spent = time.process_time() - began
    words, rows = truth(folder, code)
    windows = [words[at : at + 12] for at in range(0, len(words) - 12, 12)]
    held = squash(document.text)
    outline = [item.get_title() for item in pypdfium2.PdfDocument(file).get_toc()]
    placed = sum(squash(h.title) in squash(document.text[h.start :][:200]) for h in document.headings)
    found = table_rows(document)
    return {
        "pages": len(document.pages),
        "pages_a_cpu_second": round(len(document.pages) / spent, 1),
        "words_recovered": round(sum(window in held for window in windows) / len(windows), 4),
        "windows": len(windows),
        "outline_entries": len(outline),
        "headings_at_their_place": placed,
        "table_rows": len(rows),
        "table_rows_exact": round(sum(row in found for row in rows) / len(rows), 4),
        "lines_with_a_box": len(document.boxes),
    }


def truth(folder: Path, code: str) -> tuple[str, list[tuple[str, ...]]]:
    """The book's words and the rows of its tables, from its web pages."""
    words, rows = "", []
    for page in sorted(folder.glob(f"ch*.{code}.html")):
        soup = BeautifulSoup(page.read_text(encoding="utf-8"), "lxml")
        for part in soup.select("script,.navheader,.navfooter,.toc"):
            part.decompose()
        words += soup.get_text("\n")
        for table in soup.select("div.table table"):
            cells = [[squash(cell.get_text()) for cell in row.find_all(["td", "th"])] for row in table.find_all("tr")]
            rows += [tuple(row) for row in cells if row]
    return squash(words), rows


def table_rows(document: Document) -> set[tuple[str, ...]]:
    """The rows of all Markdown tables in a document."""
    lines = [line for line in document.text.split("\n") if line.startswith("| ")]
    return {tuple(squash(cell) for cell in re.split(r"(?<!\\)\|", line.strip("| "))) for line in lines}


def squash(text: str) -> str:
    """A text without white space, width, case and quotes, in which print and page differ."""
    return QUOTES.sub("", unicodedata.normalize("NFKC", text).casefold())


def read_pages(files: Sequence[Path], most: int) -> dict[str, object]:
    """Files a CPU-second by three ways of reading the same small pages."""
    files = files[:: max(1, len(files) // most)][:most]
    for file in files[:5]:
        read_file(file, file.name)
    began = time.process_time()
    alone = [read(file) for file in files]
    here = time.process_time() - began
    stays, kept = children(lambda: confined(files))
    few = files[:: max(1, len(files) // 20)][:20]
    each, _ = children(lambda: [confined([file]) for file in few])
    assert kept == sum(alone)
    return {
        "files": len(files),
        "characters": kept,
        "in_this_process_a_cpu_second": round(len(files) / here, 1),
        "in_confined_processes_that_stay_a_cpu_second": round(len(files) / stays, 1),
        "in_a_new_process_each_a_cpu_second": round(len(few) / each, 1),
    }


def read(file: Path) -> int:
    """The characters of one page; 0 where it holds no words."""
    from shuyuan.base.errors import Fixable

    try:
        return len(read_file(file, file.name).text)
    except Fixable:
        return 0


def confined(files: Sequence[Path]) -> int:
    """The characters of all pages, read as `add` reads them."""
    with Readers(1) as readers:
        return sum(
            len(part.document.text)
            for _, parts in readers.read((file.name, file, file.name) for file in files)
            for part in parts
            if part.document
        )


def children(work: object) -> tuple[float, int]:
    """The processor time that some work takes, in this process and those it starts; and what came out."""
    before = spent()
    came = work()  # type: ignore[operator]
    return spent() - before, came


def spent() -> float:
    """Processor seconds of this process and its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def recognised(folder: Path, code: str, most: int) -> dict[str, object]:
    """How much of drawn pages is recognised."""
    import pypdfium2

    pdf = pypdfium2.PdfDocument(folder / f"debian-reference.{code}.pdf")
    right = total = 0
    cpu = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(40, 40 + 20 * most, 20):
            file = Path(scratch) / f"{number}.png"
            pdf[number].render(scale=150 / 72).to_pil().save(file)
            began = time.process_time()
            held = squash(read_file(file, file.name).text)
            cpu += time.process_time() - began
            words = squash(pdf[number].get_textpage().get_text_range())
            windows = [words[at : at + 6] for at in range(len(words) - 6)]
            right += sum(window in held for window in windows)
            total += len(windows)
    return {
        "pages": most,
        "windows": total,
        "recovered": round(right / total, 4),
        "cpu_seconds_a_page": round(cpu / most, 1),
    }


def drawn(record: dict[str, object]) -> str:
    """The result as Markdown."""
    lines = [
        f"# Reading\n\n{record['date']} · {record['machine']} · `{record['command']}`\n",
        f"{record['versions']}\n",
    ]
    for name in ("pdf", "ocr"):
        of = record[name]
        assert isinstance(of, dict)
        keys = list(next(iter(of.values())))
        lines += [f"## {name.upper()}\n", f"| | {' | '.join(of)} |", "|-|" + "-|" * len(of)]
        lines += [f"| {key.replace('_', ' ')} | {' | '.join(str(of[one][key]) for one in of)} |" for key in keys]
        lines.append("")
    html = record["html"]
    assert isinstance(html, dict)
    lines += [
        "## HTML\n",
        "| | |",
        "|-|-|",
        *(f"| {key.replace('_', ' ')} | {value} |" for key, value in html.items()),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
