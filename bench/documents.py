"""Documents nobody here wrote: LibreOffice's help in Chinese and English (5,122 pages) and Debian's reference as a PDF.

Reads, indexes and searches them as a user's own. A query is a page's title, the right answer is the page itself, in the
same language or in the other one; a page is found when a passage of it is. One library for each language, and one that
holds both, in which pages of the query's own language compete. Two ways of indexing can be measured:

- as-shipped: passages with file name and headings in front, as every library here is built. Titles stand in the index.
- body-only: text alone, without headings and without the title's own words, so that the title must be understood.

    python bench/documents.py FOLDER        # needs apt-get and dpkg-deb; fetches about 25 MB into FOLDER
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np

from shuyuan.base.files import write_json
from shuyuan.base.progress import follow, say
from shuyuan.base.records import Document, Passage
from shuyuan.base.workspace import Workspace
from shuyuan.load.embedder import open_embedder
from shuyuan.prepare.adding import add
from shuyuan.read.reading import read_file
from shuyuan.recall.fuse import Fuse
from shuyuan.recall.searching import Library
from shuyuan.teach.cost import measured

RESULTS = Path(__file__).parent / "results"
LANGUAGES = {"zh": "zh-CN", "en": "en-US"}
PACKAGES = ("libreoffice-help-zh-cn", "libreoffice-help-en-us", "debian-reference-zh-cn")
HELP = "usr/share/libreoffice/help"
PDF = "usr/share/debian-reference/debian-reference.zh-cn.pdf"
LEGS = {"hybrid": Fuse(), "dense alone": Fuse(word_weight=0.0), "words alone": Fuse(word_weight=1.0)}
NOTES = """Milliseconds are of all three legs together, the question's embedding included. Before languages' means were
taken off the vectors (22 November 2026, 1,000 titles) hybrid recall@10 was zh→zh .975, en→en .986, zh→en .590 and
en→zh .566.

An earlier trial with the same embedder alone on 300 of these pages (title → body, pool of 300) had R@1 / MRR
zh→zh .67/.764, en→en .74/.821, zh→en .38/.504, en→zh .30/.418. Here the pool is all pages of a language. Words alone
reach across languages only by Latin terms and numbers, and by pages that are not translated.
"""
DEPTH = 50  # passages looked at for the first ten pages
BOTH = "both languages in one library"


def main() -> None:
    """Fetch, read, index, search, write bench/results/documents.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the packages and the index are kept between runs")
    parser.add_argument("--queries", type=int, default=0, help="titles asked in each direction (0: all)")
    parser.add_argument("--ways", nargs="+", default=["as-shipped"], choices=["as-shipped", "body-only"])
    parser.add_argument("--store", default="lance", help="where the libraries are kept")
    given = parser.parse_args()
    root = fetched(given.folder)
    record = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "command": f"python bench/documents.py FOLDER --queries {given.queries}",
    }
    record["reading"], pages = read_help(given.folder, root)
    record["pdf"] = read_pdf(root / PDF)
    for way in given.ways:
        record[way] = searched(given.folder, pages, way, given)
        write_json(RESULTS / "documents.json", record)
        (RESULTS / "documents.md").write_text(drawn(record), encoding="utf-8")
    say(drawn(record))


def fetched(folder: Path) -> Path:
    """The unpacked packages."""
    root = folder / "root"
    for package in PACKAGES:
        if not list(folder.glob(f"{package}_*.deb")):
            folder.mkdir(parents=True, exist_ok=True)
            subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
        if not (root / package).exists():
            (deb,) = folder.glob(f"{package}_*.deb")
            subprocess.run(["dpkg-deb", "-x", deb, root], check=True)
            (root / package).touch()
    return root


def read_help(folder: Path, root: Path) -> tuple[dict[str, object], dict[str, dict[str, Document]]]:
    """Add both languages to a workspace; the documents by language and path, and what reading cost."""
    workspace = Workspace.create(folder / "workspace")
    with measured() as cost:
        added = add(workspace, [root / HELP / LANGUAGES[name] for name in LANGUAGES])
    pages: dict[str, dict[str, Document]] = {}
    for document in workspace.material.documents():
        top, _, path = document.source.partition("/")
        if not path.endswith(".html"):
            continue  # scripts that list all pages
        pages.setdefault(next(n for n, folder in LANGUAGES.items() if folder == top), {})[path] = document
    faults = [file.source for file in workspace.material.files().values() if file.fault]
    counts = workspace.material.counts()
    return {"files": str(added.files), "faults": faults, **counts, **cost, "read_now": added.read}, pages


def read_pdf(file: Path) -> dict[str, object]:
    """Debian's reference: pages, headings, and how many of the outline's entries stand in the text where it says."""
    import pypdfium2

    with measured() as cost:
        document = read_file(file, file.name)
    outline = [item.get_title() for item in pypdfium2.PdfDocument(file).get_toc()]
    placed = sum(bare(heading.title) in bare(document.text[heading.start :][:200]) for heading in document.headings)
    return {
        "pages": len(document.pages),
        "characters": len(document.text),
        "outline_entries": len(outline),
        "headings": len(document.headings),
        "headings_at_their_place": placed,
        **cost,
    }


def bare(text: str) -> str:
    """A text without blanks and case: an outline and its page differ in them. Pages have the number in front."""
    return "".join(text.split()).casefold()


def searched(
    folder: Path, pages: dict[str, dict[str, Document]], way: str, given: argparse.Namespace
) -> dict[str, object]:
    """Recall and MRR of every direction and leg, over titles that are unique in their language."""
    workspace = Workspace.open(folder / "workspace")
    by_source: dict[str, list[Passage]] = {}
    for passage in workspace.material.passages():
        by_source.setdefault(passage.source, []).append(passage)
    page_of = {passage.id: passage.document_id for of in by_source.values() for passage in of}
    embedder = open_embedder("multilingual-e5-small")
    libraries, cost = {}, {}
    both = {f"{name}/{path}": document for name, of in pages.items() for path, document in of.items()}
    for name, of in {**pages, BOTH: both}.items():
        passages = [shown(p, d, way) for d in of.values() for p in by_source[d.source]]
        with measured() as spent:
            libraries[name] = Library.build(
                folder / f"library-{way}-{name}",
                [p for p in passages if p.text.strip()],
                embedder,
                folder / "cache",
                store=given.store,
            )
        cost[name] = {"passages": len(passages), **spent}
    found: dict[str, object] = {"index": cost}
    for asked, asking in pages.items():
        titles = [d.title for d in asking.values()]
        unique = [(path, d.title) for path, d in asking.items() if titles.count(d.title) == 1]
        for held, holding in pages.items():
            queries = [(path, title) for path, title in unique if path in holding]
            if given.queries and given.queries < len(queries):
                chosen = np.random.default_rng(0).choice(len(queries), given.queries, replace=False)
                queries = [queries[i] for i in sorted(chosen)]
            found[f"{asked}→{held}"] = score(libraries[held], queries, holding, page_of)
            if asked != held:
                found[f"{asked}→{held}, {BOTH}"] = score(libraries[BOTH], queries, holding, page_of)
    return found


def shown(passage: Passage, document: Document, way: str) -> Passage:
    """A passage as it is indexed; body-only passages lose file name, headings and the title's own words."""
    if way == "as-shipped":
        return passage
    lines = [line for line in passage.text.splitlines() if not line.startswith("#")]
    return replace(passage, headings=(), source="", text="\n".join(lines).replace(document.title, " "))


def score(
    library: Library, queries: Sequence[tuple[str, str]], held: dict[str, Document], page_of: dict[str, str]
) -> dict[str, dict[str, float]]:
    """By leg: recall at 1, 5 and 10 pages and MRR at 10, with the number of queries and milliseconds a query."""
    ranks: dict[str, list[int]] = {leg: [] for leg in LEGS}
    began = time.process_time()
    batches = [queries[start : start + 50] for start in range(0, len(queries), 50)]
    for batch in follow(batches, "searching", len(batches), "batches of titles"):
        for (path, _), of in zip(batch, library.rankings([title for _, title in batch], DEPTH), strict=True):
            for leg, fuse in LEGS.items():
                names = [one.id for one in fuse.fuse(of.dense, of.words, of.foreign)]
                pages = list(dict.fromkeys(page_of[name] for name in names))[:10]
                ranks[leg].append(pages.index(held[path].id) + 1 if held[path].id in pages else 0)
    spent = 1000 * (time.process_time() - began) / len(queries)
    return {
        leg: {**measures(np.array(of)), "n": len(of), "cpu_ms_a_query": round(spent, 1)} for leg, of in ranks.items()
    }


def measures(place: np.ndarray) -> dict[str, float]:
    """Recall and MRR of places from 1 on; 0 is a page that was not found."""
    recall = {f"recall@{k}": round(float(((place > 0) & (place <= k)).mean()), 4) for k in (1, 5, 10)}
    return {**recall, "mrr@10": round(float(np.where(place > 0, 1 / np.maximum(place, 1), 0).mean()), 4)}


def machine() -> str:
    """Processor and number of cores."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return f"{len(names)} × {names[0]}, {platform.system()}, Python {platform.python_version()}"


def drawn(record: dict[str, object]) -> str:
    """The result as Markdown."""
    reading, pdf = record["reading"], record["pdf"]
    lines = [f"# Documents nobody here wrote\n\n{record['date']} · {record['machine']} · `{record['command']}`\n"]
    lines.append(NOTES)
    lines.append(f"LibreOffice help: {json.dumps(reading, ensure_ascii=False)}\n")
    lines.append(f"Debian reference (PDF, Chinese): {json.dumps(pdf, ensure_ascii=False)}\n")
    for way in [way for way in ("as-shipped", "body-only") if way in record]:
        lines.append(f"## {way}\n\nindexing: {json.dumps(record[way]['index'])}\n")
        lines.append(
            "| query→page | leg | recall@1 | recall@5 | recall@10 | MRR@10 | n | CPU ms a query |\n|-|-|-|-|-|-|-|-|"
        )
        for direction, legs in record[way].items():
            for leg, row in legs.items() if direction != "index" else ():
                cells = " | ".join(str(value) for value in row.values())
                lines.append(f"| {direction} | {leg} | {cells} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
