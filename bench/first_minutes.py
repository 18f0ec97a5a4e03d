"""From nothing to a cited answer in the page, as somebody does it who starts here, against the clock.

A server is started on an empty folder, and a real browser opens its page: a workspace is named, the English pages of
`docs/` are dropped, a question is typed and sent, its first citation is opened. The model and the embedder are on the
machine already; what they took to come is the network's matter. Seconds run from the command `shuyuan serve` on, and
each step's stand beside the time when it was over. Nobody types: a person's own time is not in it.

    python bench/first_minutes.py
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cookbook import addressed
from paired import keep, place, stamp
from playwright.sync_api import Page, sync_playwright

from shuyuan.base.workspace import Choices

DOCS = sorted((Path(__file__).resolve().parent.parent / "docs").glob("*.md"))
QUESTION, WORD = "What rank does the LoRA adapter have?", "16"
MINUTES = 10  # after which it is given up


def main() -> None:
    """Start, walk the way, and keep what came."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", help="show the result; do not keep it in bench/results")
    given = parser.parse_args()
    about = stamp()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as at, sync_playwright() as play:
        opened = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = opened.new_page(locale="en-GB")
        page.set_default_timeout(MINUTES * 60_000)
        came = walked(page, Path(at))
        opened.close()
    size = sum(path.stat().st_size for path in DOCS)
    record = {**about, "model": Choices().model, "files": len(DOCS), "bytes": size, "question": QUESTION, **came}
    if given.print:
        print(drawn({Choices().model: record}))
    else:
        keep("first_minutes", Choices().model, record, drawn)


def walked(page: Page, folder: Path) -> dict[str, Any]:
    """Every step with the seconds since the start, the answer, and what its first citation marks."""
    began, steps = time.monotonic(), dict[str, float]()

    def over(step: str) -> None:
        steps[step] = round(time.monotonic() - began, 1)

    with addressed(folder) as url:
        over("the server answers")
        page.goto(url.removesuffix("/v1"))
        page.get_by_label("Its name").fill("school")
        page.get_by_role("button", name="Make it").click()
        page.locator("input[type=file]").first.set_input_files([str(path) for path in DOCS])
        page.get_by_label("Your question").wait_for()
        over("the documents are read and embedded, a question can be asked")
        page.get_by_label("Your question").fill(QUESTION)
        page.keyboard.press("Enter")
        page.locator("button.cite").first.wait_for()
        over("the cited answer stands there")
        page.locator("button.cite").first.click()
        marked = page.locator(".place mark").first.inner_text()
        over("its place in the document is open")
        page.locator(".reply .numbers").evaluate_all("all => all.forEach((one) => one.remove())")
        said = page.locator(".reply .markdown").inner_text()
    return {"seconds": steps, "answer": said, "right": WORD in said, "cited": marked, "evidence": WORD in marked}


def drawn(whole: Mapping[str, Any]) -> str:
    """The runs as a page."""
    lines = ["# The first minutes", "", (__doc__ or "").partition("\n\n")[2].partition("\n\n    python")[0], ""]
    for model, run in whole.items():
        lines += [f"## {model}", "", place(run), "", f"{run['files']} files, {run['bytes'] / 1e3:.0f} kB.", ""]
        lines += ["| what | seconds | since the start |", "|-|-:|-:|"]
        before = 0.0
        for step, at in run["seconds"].items():
            lines.append(f"| {step} | {at - before:.1f} | {at:.1f} |")
            before = at
        right = "right" if run["right"] else "wrong"
        evidence = "holds" if run["evidence"] else "does not hold"
        said = f"Asked: {run['question']} Said, {right}: {run['answer'].strip()}."
        lines += ["", f"{said} The place {evidence} the figure.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
