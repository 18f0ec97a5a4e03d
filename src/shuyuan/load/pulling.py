"""A name, folder or GGUF file → a verified Hugging Face folder, made once and then used with no network."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.files import fingerprint, locked, read_json, sha256_of, whole_folder, write_json
from shuyuan.base.progress import human_bytes, say
from shuyuan.base.shelf import choose
from shuyuan.base.workspace import home
from shuyuan.load.catalogue import Entry, Wanted, entries
from shuyuan.load.download import SourceFailed
from shuyuan.load.folder import Folder
from shuyuan.load.gguf import Gguf

MANIFEST = "shuyuan.json"
CONVERSION = 1  # raised when a conversion changes, so that folders made by the old one are made again
_SMALL_BYTES = 300_000_000  # a GGUF file below this is stored as float32: small models degenerate in bfloat16


@dataclass(frozen=True, slots=True)
class Known:
    """A catalogue entry and whether it is here; `size_bytes` is its converted folder's size on disk, 0 when absent."""

    entry: Entry
    present: bool
    size_bytes: int


def pull(name_or_path: str) -> Path:
    """The folder, in Hugging Face format, of a model given by catalogue name, folder or GGUF file.

    Fetches and converts on first use; later calls only compare file sizes. Killed at any time it leaves nothing half
    done, and goes on from the files that had arrived. Raises `Fixable`: unknown name, no source, unusable file.
    """
    if name_or_path in entries():
        return _from_catalogue(entries()[name_or_path])
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return Folder(path=str(path)).fetch()
    if path.is_file():
        return _from_gguf(path.resolve())
    looks_like_path = "/" in name_or_path or path.suffix == ".gguf"
    raise Fixable(
        f"there is no file or folder {path}" if looks_like_path else f"there is no model called '{name_or_path}'",
        "give a model folder or a .gguf file that is on this machine"
        if looks_like_path
        else f"{near_miss(name_or_path, entries())} A model folder or .gguf file of your own works too, by its path",
    )


def present(name: str) -> bool:
    """Whether a catalogue model is here, whole by its file sizes."""
    return not _fault(_place(name))


def models() -> list[Known]:
    """Every catalogue model, with whether it is here and how much of the disk it takes."""
    found = []
    for name, entry in entries().items():
        here = present(name)
        files = read_manifest(_place(name))["files"] if here else {}
        found.append(Known(entry, here, sum(file["bytes"] for file in files.values())))
    return found


def read_manifest(folder: Path) -> dict[str, Any]:
    """What was written down when a folder was made (`shuyuan.json`); {} for a folder that was not made here.

    Keys: name, source, licence, quantised, dtype, conversion, made, files {name: {bytes, sha256}}.
    """
    file = folder / MANIFEST
    return dict(read_json(file)) if file.exists() else {}


def verify(folder: Path) -> list[str]:
    """What is wrong with a made folder, file by file, by size and SHA-256; [] when all is well. Reads every byte."""
    faults = []
    for name, stated in read_manifest(folder).get("files", {}).items():
        file = folder / name
        if not file.exists():
            faults.append(f"{file} is missing")
        elif file.stat().st_size != stated["bytes"] or sha256_of(file) != stated["sha256"]:
            faults.append(f"{file} has changed since it was made")
    return faults


def _place(name: str) -> Path:
    return home() / "models" / name


def _fault(folder: Path) -> str:
    """Why a made folder cannot be used, from its manifest and the sizes of its files; "" when it can."""
    if not (folder / MANIFEST).exists():
        return "not made yet"
    try:
        manifest = read_manifest(folder)
        if manifest["conversion"] != CONVERSION:
            return "made by another version"
        for name, stated in manifest["files"].items():
            file = folder / name
            if not file.exists() or file.stat().st_size != stated["bytes"]:
                return f"{name} is damaged"
    except (Fixable, KeyError, TypeError, ValueError):
        return f"{MANIFEST} is damaged"
    return ""


def _from_catalogue(entry: Entry) -> Path:
    folder, downloads = _place(entry.name), home() / "downloads" / entry.name

    def make(aside: Path) -> dict[str, Any]:
        file, source = _fetched(entry, downloads)
        say(f"converting {entry.wanted.file} to a Hugging Face folder, once")
        _converter(entry.format)(file, aside, entry.stored, entry.tied)
        return {"name": entry.name, "source": source, "licence": entry.licence, "quantised": entry.quantised}

    if _make_once(folder, make, entry.dtype):
        shutil.rmtree(downloads, ignore_errors=True)
        say(f"{entry.name}: {entry.about['en']}. Licence {entry.licence}; weights were {entry.quantised}")
    return folder


def _from_gguf(path: Path) -> Path:
    stat = path.stat()
    folder = _place(f"{path.stem}-{fingerprint(str(path), stat.st_size, stat.st_mtime_ns)}")
    stored = "float32" if stat.st_size < _SMALL_BYTES else "bfloat16"

    def make(aside: Path) -> dict[str, Any]:
        file = Gguf(path=str(path)).fetch()
        say(f"converting {path} ({human_bytes(stat.st_size)}) to a Hugging Face folder, once")
        _converter("gguf")(file, aside, stored, False)
        return {"name": path.stem, "source": str(path), "licence": "as the file's own", "quantised": "GGUF"}

    _make_once(folder, make, stored)
    return folder


def _make_once(folder: Path, make: Callable[[Path], dict[str, Any]], dtype: str) -> bool:
    """Make `folder` unless it is there and sound; True when it was made. A second command waits for the first."""
    if not _fault(folder):
        return False
    with locked(folder.parent / f".{folder.name}.lock", f"pull {folder.name}", wait=True):
        fault = _fault(folder)
        if not fault:
            return False
        if folder.exists():
            say(f"{folder}: {fault}; making it again")
        for left in folder.parent.glob(f".{folder.name}.*"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
        with whole_folder(folder) as aside:
            manifest = make(aside)
            for file in aside.rglob("*"):
                file.chmod(0o755 if file.is_dir() else 0o644)
            files = {
                file.relative_to(aside).as_posix(): {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
                for file in sorted(aside.rglob("*"))
                if file.is_file()
            }
            made = datetime.now(UTC).isoformat(timespec="seconds")
            manifest |= {"dtype": dtype, "conversion": CONVERSION, "made": made, "files": files}
            write_json(aside / MANIFEST, manifest)
    return True


def _fetched(entry: Entry, downloads: Path) -> tuple[Path, str]:
    """The entry's one file, from the first source that has it, and the name of that source."""
    file = downloads / entry.wanted.file
    if _is_wanted(file, entry.wanted):
        return file, "fetched before"
    failures = []
    for given in entry.sources:
        settings = {key: value for key, value in given.items() if key != "from"}
        try:
            return choose("load", given["from"]).of(settings).fetch(entry.wanted, downloads), given["from"]
        except SourceFailed as error:
            failures.append(f"{given['from']}: {error.what}" + (f" ({error.place})" if error.place else ""))
            say(failures[-1])
    raise Fixable(
        f"{entry.name} is not on this machine, and no source has it:\n  " + "\n  ".join(failures),
        f"connect to a network and run: shuyuan pull {entry.name} (what has arrived is kept); or put the file "
        f"{entry.wanted.file} with sha256 {entry.wanted.sha256} into {downloads}",
    )


def _is_wanted(file: Path, wanted: Wanted) -> bool:
    return file.exists() and file.stat().st_size == wanted.bytes and sha256_of(file) == wanted.sha256


def _converter(form: str) -> Callable[[Path, Path, str, bool], None]:
    if form == "gguf":
        from shuyuan.load.convert_gguf import convert_gguf

        return convert_gguf
    from shuyuan.load.convert_e5 import convert_e5

    return convert_e5
