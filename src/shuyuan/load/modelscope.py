"""A file of a repository on ModelScope, or on the mirror named by MODELSCOPE_ENDPOINT."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field

from shuyuan.base.settings import Settings
from shuyuan.load.catalogue import Wanted
from shuyuan.load.download import check_reachable, fetch_over_http


class Modelscope(Settings):
    """Fetches `wanted.file` of one repository; `HF_HUB_OFFLINE=1` keeps it from trying, as for the other hub."""

    repository: Annotated[str, Field(description="owner/name on ModelScope")] = ""
    revision: Annotated[str, Field(description="branch, tag or commit")] = "master"

    def fetch(self, wanted: Wanted, folder: Path) -> Path:
        """Put the wanted file into `folder` and return its path. Raises `SourceFailed` when it cannot be had here."""
        endpoint = os.environ.get("MODELSCOPE_ENDPOINT", "https://modelscope.cn").rstrip("/")
        check_reachable(endpoint)
        address = f"{endpoint}/models/{self.repository}/resolve/{self.revision}/{wanted.file}"
        return fetch_over_http(address, wanted, folder)
