"""A file of a repository on the Hugging Face hub, or on the mirror named by HF_ENDPOINT."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field

from shuyuan.base.settings import Settings
from shuyuan.load.catalogue import Wanted
from shuyuan.load.download import check_reachable, fetch_over_http


class Hub(Settings):
    """Fetches `wanted.file` of one repository; `HF_HUB_OFFLINE=1` keeps it from trying."""

    repository: Annotated[str, Field(description="owner/name on the hub")] = ""
    revision: Annotated[str, Field(description="branch, tag or commit")] = "main"

    def fetch(self, wanted: Wanted, folder: Path) -> Path:
        """Put the wanted file into `folder` and return its path. Raises `SourceFailed` when it cannot be had here."""
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        check_reachable(endpoint)
        return fetch_over_http(f"{endpoint}/{self.repository}/resolve/{self.revision}/{wanted.file}", wanted, folder)
