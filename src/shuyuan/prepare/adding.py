"""Files and questions into a workspace: new and changed ones are read, unchanged skipped, vanished forgotten."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from shuyuan.base.errors import Fixable
from shuyuan.base.files import fingerprint, locked, sha256_of
from shuyuan.base.material import File, Material
from shuyuan.base.progress import follow, say
from shuyuan.base.records import Document, Kept
from shuyuan.base.workspace import Workspace
from shuyuan.prepare.chunk import Chunk
from shuyuan.prepare.gathering import data_files, put_data, rather
from shuyuan.prepare.sheets import put_sheets, read_sheets
from shuyuan.prepare.sources import Roots
from shuyuan.prepare.split import Split
from shuyuan.prepare.workers import worker_count
from shuyuan.read.address import fetch, is_address
from shuyuan.read.apart import Readers
from shuyuan.read.reading import Part, formats, walk

_MOST_FAULTS_SHOWN = 10
_FILES_WORTH_A_READER = 30


@dataclass(frozen=True, slots=True)
class Added:
    """What one `add` did to files and question rows, and what the whole workspace holds now.

    `read`, `unchanged` and `forgotten` count files. `faults`: source → what is wrong, for files that cannot be read;
    `left_out`: source → what of it could not. `languages` counts documents.
    """

    files: Kept
    rows: Kept
    data: Kept
    read: int
    unchanged: int
    forgotten: int
    faults: Mapping[str, str]
    left_out: Mapping[str, str]
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
    pictures: bool = False,
    allow_network: bool = False,
) -> Added:
    """Add files, folders, question files and training data to a workspace, and say what was kept and dropped.

    Question and data files are read and checked first, so that a bad row costs no time. `data` may name a
    `dataset_info.json`, of which `datasets` are taken; `replace` fills holes: `{{name}}` becomes `replace["name"]`;
    of each data file at most the first `most` rows are taken. `pictures`: folders' pictures of words are read too.
    Paths may be addresses of the web (`https://…`), if `allow_network`: they are fetched, and are their own sources.

    Each document is stored in one step: after a crash the same command goes on. A file that cannot be read is recorded
    with its fault while the others go on; when nothing at all can be read, it is a `Fixable`. A document's source is
    the root's name with the path under it (`docs/teach.md`). `chunk` None means as before; another one cuts all
    documents again.
    """
    if not paths and not questions and not data:
        raise Fixable("there is nothing to add", "name files or folders, or files with --questions or --data")
    addresses = [str(path) for path in paths if is_address(str(path))]
    if addresses and not allow_network:
        raise Fixable(f"{addresses[0]} is on the network, which is not used unasked", "allow it: --allow-network")
    with (
        locked(workspace.folder / "add.lock", "shuyuan add"),
        tempfile.TemporaryDirectory(prefix="shuyuan-") as scratch,
    ):
        roots = Roots.open(workspace.folder)
        sheets = read_sheets(workspace.material, roots, [Path(path) for path in questions], split or Split())
        visit = _Visit(workspace.material, roots, chunk=chunk or Chunk.model_validate(roots.chunk or {}))
        gathered = data_files(roots, [Path(path) for path in data], datasets, most)
        visit.find([Path(path) for path in paths if not is_address(str(path))], exclude, pictures)
        visit.fetch(addresses, Path(scratch))
        rows = put_data(workspace.material, gathered, replace or {}, visit.chunk)
        if paths:
            visit.cut_again(chunk)
            visit.take()
        visit.forget_sheets()
        roots.save()
        put_sheets(workspace.material, sheets)
        added = _summary(workspace.material, visit, sheets.rows, rows)
    _tell(added)
    for path in paths:
        meant = rather(Path(path))
        if meant == "data":
            say(f"{path}: its rows are examples, now read as a document; to learn them: shuyuan add --data {path}")
        elif meant == "questions":
            say(f"{path}: its rows are questions, now read as a document; for the exam: shuyuan add --questions {path}")
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
    inside: int = 0
    unchanged: int = 0
    forgotten: int = 0
    faults: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    fetch_faults: dict[str, str] = field(default_factory=dict)
    _stored: set[str] = field(default_factory=set)
    _same: set[str] = field(default_factory=set)

    def find(self, paths: Iterable[Path], exclude: Sequence[str], pictures: bool) -> None:
        """Walk every path before anything is stored; one that never had a readable file is a `Fixable`.

        Files of questions and of training data are left out: they are not to be looked up.
        """
        sheets = self._sheets()
        for path in paths:
            known = str(path.resolve()) in self.roots.roots.values()
            found = walk(path, exclude, pictures)
            if not found.files and not known:
                raise _nothing_in(path, found.skipped)
            name = self.roots.name(path)
            self.names.append(name)
            self.skipped.update(found.skipped)
            for file in found.files:
                if file.resolve() in sheets:
                    self.skipped["of questions or training data"] += 1
                else:
                    source = "/".join((name, *file.relative_to(path).parts))
                    self.wanted[source.encode(errors="replace").decode()] = file

    def fetch(self, addresses: Sequence[str], scratch: Path) -> None:
        """Fetch pages of the web into files whose source is the address; one that cannot be had is a fault."""
        for number, address in enumerate(addresses):
            try:
                page = fetch(address)
            except Fixable as error:
                self.fetch_faults[address] = str(error)
                continue
            file = scratch / f"{number}{page.suffix}"
            file.write_bytes(page.data)
            self.wanted[address] = file

    def _sheets(self) -> set[Path]:
        return {Path(path) for path in (*self.roots.questions.values(), *self.roots.data.values())}

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
        """Read what is new or changed, one transaction a document, and forget what is gone."""
        known = self.material.files()
        for address, fault in self.fetch_faults.items():
            self._keep_part(File(address, "", 0, 0.0), Part(address, fault=fault))
        with Readers(worker_count(len(self.wanted), _FILES_WORTH_A_READER)) as readers:
            for file, parts in readers.read(self._changed(known)):
                self._store(file, parts)
        if self.faults and len(self.faults) == self.came:
            raise Fixable(
                "\n  ".join(["none of the files could be read:", *_first_faults(self.faults)]),
                "put readable files there, or name others",
            )
        self._forget(known)

    @property
    def came(self) -> int:
        """How many files there were to read, those inside of others and pages of the web too."""
        return len(self.wanted) + len(self.fetch_faults) + self.inside

    def forget_sheets(self) -> None:
        """Forget documents that were read from what is now known to be a file of questions or training data."""
        roots = [(name, Path(root)) for name, root in self.roots.roots.items()]
        self.material.remove_files(
            "/".join((name, *sheet.relative_to(root).parts))
            for sheet in self._sheets()
            for name, root in roots
            if sheet.is_relative_to(root)
        )

    def _changed(self, known: Mapping[str, File]) -> Iterator[tuple[File, Path, str]]:
        """The files that have to be read. Same content under another name is copied, not read again."""
        twins = {file.sha256: source for source, file in known.items() if file.sha256 and not file.fault}
        for source, path in follow(sorted(self.wanted.items()), "reading", len(self.wanted), "files"):
            before = known.get(source)
            try:
                stat = path.stat()
                same = before is not None and not before.fault and before.bytes == stat.st_size
                if before and same and before.modified == stat.st_mtime:
                    self._keep(source)
                    continue
                file = File(source, sha256_of(path), stat.st_size, stat.st_mtime)
            except OSError as error:
                fault = f"{path}: the file cannot be read: {error.strerror}"
                self._store(File(source, "", 0, 0.0), [Part(source, fault=fault)])
                continue
            if before is None and (old := twins.get(file.sha256, "")) and old not in self.wanted:
                self._move_mark(old, source)
            if before and same and before.sha256 == file.sha256:
                self.material.touch_file(source, file.modified)
                self._keep(source)
            elif twin := self._twin(file, twins.get(file.sha256, "")):
                self._store(file, [Part(source, twin)])
            else:
                yield file, path, source

    def _move_mark(self, old: str, source: str) -> None:
        """A document that moved keeps what was said of it, before anybody can see it under its new name."""
        marks = self.material.marks()
        if old in marks and source not in marks:
            self.material.put_mark(source, marks[old])

    def _keep(self, source: str) -> None:
        self.unchanged += 1
        self._same.add(source)

    def _twin(self, file: File, other: str) -> Document | None:
        """The document of the same bytes under another name of the same kind, as if read under this one."""
        kind = PurePosixPath(file.source).suffix.lower()
        there = self.material.document(other) if other and PurePosixPath(other).suffix.lower() == kind else None
        if there is None or any(kind in way.suffixes for way in formats().values() if way.holds_files):
            return None
        by_file = there.title == PurePosixPath(other).stem and there.title not in [h.title for h in there.headings[:1]]
        title = PurePosixPath(file.source).stem if by_file else there.title
        return replace(there, id=fingerprint(file.source), source=file.source, title=title)

    def _store(self, file: File, parts: Sequence[Part]) -> None:
        """Keep the documents of a file, those of the files inside first: a kill before the last reads all again."""
        whole = Part(file.source)
        for part in parts:
            self.skipped.update(part.skipped)
            if part.source != file.source:
                self.inside += 1
                self._keep_part(File(part.source, part.document.sha256 if part.document else "", 0, 0.0), part)
            elif part.document or part.fault:
                whole = part
        self._keep_part(file, whole)

    def _keep_part(self, file: File, part: Part) -> None:
        document = part.document
        self._stored.add(file.source)
        if is_address(file.source) and file.source in self.wanted:  # people know the address, not where it lies
            part = replace(part, fault=part.fault.replace(str(self.wanted[file.source]), file.source))
        file = replace(file, fault=part.fault)
        self.material.put_document(file, document, self.chunk.chunk(document) if document else ())
        if part.fault:
            self.faults[file.source] = part.fault
            return
        self.read += 1
        if document and document.left_out:
            self.left_out[file.source] = document.left_out

    def _forget(self, known: Mapping[str, File]) -> None:
        """Forget files that are gone from the paths that were given, and from the archives that were read again."""
        owned = (*self.names, *self.roots.absorbed)
        gone = [
            source
            for source in known
            if source not in self.wanted
            and source not in self._stored
            and any(source == name or source.startswith(f"{name}/") for name in owned)
            and source.rpartition(":")[0] not in self.roots.data  # a raw text of a data file in that folder
            and not any(str(above) in self._same for above in PurePosixPath(source).parents)
        ]
        self.material.remove_files(gone)
        self.forgotten = len(gone)


def _nothing_in(path: Path, skipped: Mapping[str, int]) -> Fixable:
    reasons = ", ".join(f"{count:,} {why}" for why, count in skipped.items() if count)
    suffixes = sorted(suffix for kind in formats().values() for suffix in kind.suffixes)
    what = f"nothing in it can be read: {reasons}" if reasons else "the folder is empty"
    return Fixable(what, f"put files there that end in {' '.join(suffixes)}", path)


def _summary(material: Material, visit: _Visit, rows: Kept, data: Kept) -> Added:
    counts = material.counts()
    skipped = {why: count for why, count in visit.skipped.items() if count}
    dropped = {**skipped, "could not be read": len(visit.faults)} if visit.faults else skipped
    return Added(
        files=Kept(visit.came + sum(skipped.values()), visit.came - len(visit.faults), dropped, "files"),
        rows=rows,
        data=data,
        read=visit.read,
        unchanged=visit.unchanged,
        forgotten=visit.forgotten,
        faults=visit.faults,
        left_out=visit.left_out,
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
        for line in _first_faults({source: f"{source}: {what}" for source, what in added.left_out.items()}):
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
