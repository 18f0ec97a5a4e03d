"""The server against its own OpenAPI description: schemathesis makes the requests, and every answer is held to it.

python bench/contract.py --peers FOLDER [--requests 5000]

`FOLDER/schemathesis` is an environment with schemathesis. The server is the real one, on a tiny model, with an
administrator's key; jobs are accepted and wait, so that none is run ten thousand times.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paired import keep, place, stamp

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from serving import Served, serving, tiny_school  # noqa: E402

from shuyuan.serve.limits import Bounds  # noqa: E402

# All of schemathesis's checks but these: whether a random name exists is not for a schema to say
# (positive_data_acceptance), and what a deleted thing answers is tested by name in tests/test_serve_openai.py.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,missing_required_header,unsupported_method,ignored_auth"
)
FEWEST_KEPT = 5000  # requests; a smaller run is a trial


def main() -> None:
    """Run, count, and keep what came."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=FEWEST_KEPT)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as at:
        school = tiny_school(Path(at)).folder
        bounds = Bounds(requests_a_minute=1_000_000, jobs_waiting=100_000)
        # One workspace: a server of several would make new ones, on the default model, when asked to.
        with serving(school, bounds, jobs_run=False) as served:
            record = {**stamp(), "seed": given.seed, **ask(served, given, Path(at) / "report.ndjson")}
            assert served.send("GET", "/health")[0] == 200
    print(record["said"])
    if record["requests"] >= FEWEST_KEPT:
        keep("contract", "run", record, page)


def ask(served: Served, given: argparse.Namespace, report: Path) -> dict[str, Any]:
    """One run of schemathesis, and what it found."""
    secret = served.house.access.add_key("bench", admin=True)[1]
    description = served.send("GET", "/openapi.json")[1]
    operations = sum(len(methods) for methods in description["paths"].values())
    settings = report.with_name("schemathesis.toml")  # also: too large a body, and no key that is one
    settings.write_text(
        "[checks.negative_data_rejection]\nexpected-statuses = [400, 401, 404, 413, 415, 422]\n", "utf-8"
    )
    command = [str(given.peers.resolve() / "schemathesis" / "bin" / "st"), "--config-file", str(settings)]
    command += ["run", f"{served.url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {secret}", "--checks", CHECKS, "--seed", str(given.seed)]
    command += ["--max-examples", str(max(5, given.requests // operations)), "--no-shrink", "--continue-on-failure"]
    command += ["--phases", "examples,coverage,fuzzing", "--report", "ndjson", "--report-ndjson-path", str(report)]
    command += ["--request-timeout", "120", "--warnings", "off", "--suppress-health-check", "all"]
    plain = {**os.environ, "NO_COLOR": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=plain, cwd=report.parent)
    said = "\n".join(line[:300] for line in ended.stdout.splitlines())
    failures = re.search(r"=+ FAILURES =+(.*?)=+ SUMMARY =+", said, re.DOTALL)
    statuses = Counter(re.findall(r'"status_code":\s*(\d{3})', report.read_text(encoding="utf-8")))
    return {
        "operations": operations,
        "requests": statuses.total(),
        "statuses": dict(sorted(statuses.items())),
        "failures": failures[1].strip()[:20_000] if failures else "",
        "ended": ended.returncode,
        "said": said[-20_000:] + ended.stderr[-2000:],
    }


def page(record: Mapping[str, Any]) -> str:
    """The run as a page."""
    run = record["run"]
    rows = "\n".join(f"| {status} | {count:,} |" for status, count in run["statuses"].items())
    return f"""# The server against its own description

{place(run)}

schemathesis, seed {run["seed"]}: {run["requests"]:,} requests to {run["operations"]} operations. Checked: no 5xx;
status, content type, headers and schema as described; wrong data refused; no way around the key.

| status | answers |
|-|-|
{rows}

5xx: {sum(count for status, count in run["statuses"].items() if status.startswith("5"))}.
Failed checks: {run["failures"] or "none"}.
"""


if __name__ == "__main__":
    main()
