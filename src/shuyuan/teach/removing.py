"""Take documents out of a workspace so that no passage, vector, index row or kept answer of them is left."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.files import inside, locked
from shuyuan.base.marks import above
from shuyuan.base.workspace import UPLOADS, Workspace
from shuyuan.prepare.meaning import said
from shuyuan.recall.contexts import prune_contexts
from shuyuan.recall.embedding import prune
from shuyuan.recall.keeping import forget
from shuyuan.recall.leaks import MOST
from shuyuan.teach.teaching import stale

_TEXTS = {".json", ".jsonl", ".md", ".html", ".sqlite", ".sqlite-wal"}  # what of an exam may hold a document's words


class Quoted(Fixable):
    """Exams quote what is to be removed, and nobody said that they may go."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What went: the documents, how many passages they had, the exams that quoted them.

    `stale`: the assistants that no longer match the workspace; what weights have learned, only teaching again removes.
    """

    sources: tuple[str, ...]
    passages: int
    exams: tuple[str, ...]
    stale: tuple[str, ...]


def remove(workspace: Workspace, sources: Sequence[str], *, exams: bool = False) -> Removed:
    """Remove documents, named by source or by a folder or archive above them; uploaded files are deleted, too.

    Exams keep questions and answers with their passages. Where one quotes a document it is removed with it if `exams`,
    else nothing is done and a Fixable names it. Killed on the way, the same call goes on. A file that lies outside the
    workspace comes back when its folder is added again. Raises Fixable for a source that is not there.
    """
    with locked(workspace.folder / "add.lock", "removing documents"), ExitStack() as held:
        material = workspace.material
        gone = _named(material.files(), sources)
        quoting = [name for name in _sat(workspace) if quotes(workspace.exam(name), gone)]
        if quoting and not exams:
            raise Quoted(
                f"{', '.join(quoting)} quotes what is to be removed: an exam keeps its questions, passages and answers",
                "remove it as well: --exams",
            )
        runs = workspace.folder / "runs"
        for name in sorted(path.name for path in runs.glob("*") if path.is_dir() and not path.name.startswith(".")):
            held.enter_context(locked(runs / f".{name}.lock", "removing documents"))
        documents = material.document_ids(gone)
        for library in [*runs.glob("*/library"), *(workspace.folder / "cache").glob("*/library")]:
            if library.is_dir():
                forget(library, list(documents))
        for name in quoting:
            shutil.rmtree(workspace.exam(name))
        for source in gone:
            if source.startswith(f"{UPLOADS}/") and not _archives(source, gone):
                inside(workspace.folder, source).unlink(missing_ok=True)
        passages = material.counts()["passages"]
        material.remove_files(gone)
        passages -= material.counts()["passages"]
        material.purge()
        _prune(workspace)
    late = tuple(name for name in workspace.runs() if stale(workspace, name))
    return Removed(tuple(gone), passages, tuple(quoting), late)


def quotes(exam: Path, sources: Collection[str]) -> bool:
    """Whether an exam keeps words of these documents: it names a document with each passage, citation and question."""
    if not sources:
        return False
    written = sorted({name for source in sources for name in (source, json.dumps(source, ensure_ascii=False)[1:-1])})
    named = re.compile(rb"(?<![\w/.-])(?:" + b"|".join(re.escape(name.encode()) for name in written) + rb")(?![\w/-])")
    files = (path for path in exam.rglob("*") if path.suffix in _TEXTS and path.is_file())
    return any(named.search(path.read_bytes()) for path in files)


def _named(known: Collection[str], sources: Sequence[str]) -> list[str]:
    """The sources of all files that are meant. A part of an archive is not removed from it."""
    found: list[str] = []
    for given in sources:
        name = given.rstrip("/")
        meant = [source for source in known if name in above(source)]
        if not meant:
            raise Fixable(f"there is no document '{given[:200]}'", near_miss(given, known))
        if whole := _archives(name, known):
            raise Fixable(f"{name} lies inside {whole[0]}", f"remove the whole file: {whole[0]}")
        found += meant
    return sorted(set(found))


def _archives(source: str, known: Collection[str]) -> list[str]:
    return [name for name in above(source) if name != source and name in known]


def _sat(workspace: Workspace) -> Iterator[str]:
    """All exams, those that were never finished, too."""
    yield from sorted(path.name for path in (workspace.folder / "exams").glob("*") if path.is_dir())


def _prune(workspace: Workspace) -> None:
    """Keep the vectors of what is there: passages, and the texts that are compared with the exam."""
    material, cache = workspace.material, workspace.folder / "cache"
    prune_contexts(cache, {passage.id for passage in material.passages()})
    lessons, _ = said(material.examples(), MOST)
    texts = [*(passage.searchable for passage in material.passages()), *(one.text for one in lessons)]
    prune(cache, [*texts, *(question.text for question in material.questions())])
