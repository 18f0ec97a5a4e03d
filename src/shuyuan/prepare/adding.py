"""Files and questions into a workspace: new and changed ones are read, unchanged skipped, vanished forgotten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shuyuan.base.errors import Fixable
from shuyuan.base.files import locked, sha256_of
from shuyuan.base.material import File, Material
from shuyuan.base.progress import follow, say
from shuyuan.base.records import Document, Kept
from shuyuan.base.workspace import Workspace
from shuyuan.prepare.chunk import Chunk
from shuyuan.prepare.gathering import data_files, put_data
from shuyuan.prepare.sheets import put_sheets, read_sheets
from shuyuan.prepare.sources import Roots
from shuyuan.prepare.split import Split
from shuyuan.read.reading import formats, read_file, walk

_MOST_FAULTS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Added:
    """What one `add` did to files and question rows, and what the whole workspace holds now.

    `read`, `unchanged` and `forgotten` count files. `faults`: source → what is wrong, for files that cannot be read.
    `languages` counts documents.
    """

    files: Kept
    rows: Kept
    data: Kept
    read: int
    unchanged: int
    forgotten: int
    faults: Mapping[str, str]
    languages: Mapping[str, int]
    documents: int
    passages: int
    examples: int
    questions: int


def add(
    workspace: Workspace,
    paths: Sequence[Path | str],
    questions: Sequence[Path | str] = (),
    exclude: Sequence[str] = (),
    *,
    data: Sequence[Path | str] = (),
    datasets: Sequence[str] = (),
    replace: Mapping[str, str] | None = None,
    most: int | None = None,
    chunk: Chunk | None = None,
    split: Split | None = None,
) -> Added:
    """Add files, folders, question files and training data to a workspace, and say what was kept and dropped.

    Question and data files are read and checked first, so that a bad row costs no time. `data` may name a
    `dataset_info.json`, of which `datasets` are taken; `replace` fills holes: `{{name}}` becomes `replace["name"]`;
    of each data file at most the first `most` rows are taken.

    Each document is stored in one step: after a crash the same command goes on. A file that cannot be read is recorded
    with its fault while the others go on; when nothing at all can be read, it is a `Fixable`. A document's source is
    the root's name with the path under it (`docs/teach.md`). `chunk` None means as before; another one cuts all
    documents again.
    """
    if not paths and not questions and not data:
        raise Fixable("there is nothing to add", "name files or folders, or files with --questions or --data")
    with locked(workspace.folder / "add.lock", "shuyuan add"):
        roots = Roots.open(workspace.folder)
        sheets = read_sheets(workspace.material, roots, [Path(path) for path in questions], split or Split())
        visit = _Visit(workspace.material, roots, chunk=chunk or Chunk.model_validate(roots.chunk or {}))
        visit.find([Path(path) for path in paths], exclude)
        gathered = data_files(roots, [Path(path) for path in data], datasets, most)
        rows = put_data(workspace.material, gathered, replace or {}, visit.chunk)
        if paths:
            visit.cut_again(chunk)
            visit.take()
        roots.save()
        put_sheets(workspace.material, sheets)
        added = _summary(workspace.material, visit, sheets.rows, rows)
    _tell(added)
    return added


@dataclass
class _Visit:
    """One round over the files under the paths that were given."""

    material: Material
    roots: Roots
    wanted: dict[str, Path] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    chunk: Chunk = field(default_factory=Chunk)
    read: int = 0
    unchanged: int = 0
    forgotten: int = 0
    faults: dict[str, str] = field(default_factory=dict)

    def find(self, paths: Iterable[Path], exclude: Sequence[str]) -> None:
        """Walk every path before anything is stored; one without readable files is a `Fixable`."""
        for path in paths:
            found = walk(path, exclude)
            if not found.files:
                raise _nothing_in(path, found.skipped)
            name = self.roots.name(path)
            self.names.append(name)
            self.skipped.update(found.skipped)
            for file in found.files:
                self.wanted["/".join((name, *file.relative_to(path).parts)).encode(errors="replace").decode()] = file

    def cut_again(self, chunk: Chunk | None) -> None:
        """Use one way of cutting for all documents: when another is asked for, cut those that are there again."""
        before = self.roots.chunk
        self.chunk = chunk or Chunk.model_validate(before or {})
        now = self.chunk.model_dump()
        files = self.material.files()
        documents = self.material.documents() if before != now else ()
        if documents:
            self.roots.chunk = None
            self.roots.save()
            for document in follow(documents, "cutting again", len(documents), "documents"):
                self.material.put_document(files[document.source], document, self.chunk.chunk(document))
        self.roots.chunk = now
        self.roots.save()

    def take(self) -> None:
        """Read what is new or changed, one transaction a file, and forget what is gone."""
        known = self.material.files()
        for source, path in follow(sorted(self.wanted.items()), "reading", len(self.wanted), "files"):
            self._file(source, path, known.get(source))
        if len(self.faults) == len(self.wanted):
            raise Fixable(
                "\n  ".join(["none of the files could be read:", *_first_faults(self.faults)]),
                "put readable files there, or name others",
            )
        owned = (*self.names, *self.roots.absorbed)
        gone = [
            source
            for source in known
            if source not in self.wanted
            and any(source == name or source.startswith(f"{name}/") for name in owned)
            and source.rpartition(":")[0] not in self.roots.data  # a raw text of a data file in that folder
        ]
        self.material.remove_files(gone)
        self.forgotten = len(gone)

    def _file(self, source: str, path: Path, known: File | None) -> None:
        try:
            stat = path.stat()
            file = File(source, "", stat.st_size, stat.st_mtime)
            same = known is not None and not known.fault and known.bytes == file.bytes
            if known and same and known.modified == file.modified:
                self.unchanged += 1
                return
            file = File(source, sha256_of(path), stat.st_size, stat.st_mtime)
        except OSError as error:
            file, document = File(source, "", 0, 0.0, f"{path}: the file cannot be read: {error.strerror}"), None
        else:
            if known and same and known.sha256 == file.sha256:
                self.material.touch_file(source, file.modified)
                self.unchanged += 1
                return
            document, fault = _read(path, source)
            file = File(source, file.sha256, file.bytes, file.modified, fault)
        self.material.put_document(file, document, self.chunk.chunk(document) if document else ())
        if file.fault:
            self.faults[source] = file.fault
        else:
            self.read += 1


def _read(path: Path, source: str) -> tuple[Document | None, str]:
    """The document of a file, or what is wrong with it."""
    try:
        return read_file(path, source), ""
    except Fixable as error:
        return None, str(error)
    except Exception as error:  # a parser's own error: one bad file must not stop the others
        return None, f"{path}: cannot be read: {type(error).__name__}: {error}"


def _nothing_in(path: Path, skipped: Mapping[str, int]) -> Fixable:
    reasons = ", ".join(f"{count:,} {why}" for why, count in skipped.items() if count)
    suffixes = sorted(suffix for kind in formats().values() for suffix in kind.suffixes)
    what = f"nothing in it can be read: {reasons}" if reasons else "the folder is empty"
    return Fixable(what, f"put files there that end in {' '.join(suffixes)}", path)


def _summary(material: Material, visit: _Visit, rows: Kept, data: Kept) -> Added:
    counts = material.counts()
    skipped = {why: count for why, count in visit.skipped.items() if count}
    dropped = {**skipped, "could not be read": len(visit.faults)} if visit.faults else skipped
    came = len(visit.wanted) + sum(skipped.values())
    return Added(
        files=Kept(came, len(visit.wanted) - len(visit.faults), dropped, "files"),
        rows=rows,
        data=data,
        read=visit.read,
        unchanged=visit.unchanged,
        forgotten=visit.forgotten,
        faults=visit.faults,
        languages=material.languages(),
        documents=counts["documents"],
        passages=counts["passages"],
        examples=counts["examples"],
        questions=counts["questions"],
    )


def _tell(added: Added) -> None:
    if added.files.came:
        say(f"{added.files} · {added.read:,} read, {added.unchanged:,} unchanged, {added.forgotten:,} forgotten")
        for line in _first_faults(added.faults):
            say(f"  {line}")
    for rows in (added.rows, added.data):
        if rows.came:
            say(str(rows))
    languages = ", ".join(f"{count:,} {name}" for name, count in sorted(added.languages.items()))
    say(
        f"the workspace holds {added.documents:,} documents ({languages or 'none'}) in {added.passages:,} passages, "
        f"{added.examples:,} examples to learn from, {added.questions:,} exam questions"
    )


def _first_faults(faults: Mapping[str, str]) -> list[str]:
    shown = [fault.partition("\n")[0] for fault in list(faults.values())[:_MOST_FAULTS_SHOWN]]
    return [*shown, f"… and {len(faults) - len(shown):,} more"] if len(faults) > len(shown) else shown
