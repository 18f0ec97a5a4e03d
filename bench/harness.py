"""The same model, the same questions, two houses: Shuyuan's exam and EleutherAI's lm-evaluation-harness.

One small model (float32, greedy) sits the handbook's questions and the general items three times: in Shuyuan's exam; in
the harness as Shuyuan's assistant; in the harness as its own Hugging Face model, on the exported task files. A fourth
task of choices compares likelihoods. Replies, scores and log-likelihoods have to be equal.

    FOLDER/bin/python bench/harness.py       # an environment with lm-eval, transformers, accelerate and Shuyuan
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from shuyuan.base.files import write_json, write_whole
from shuyuan.base.records import Decoding, Question
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.examine.exam import hold
from shuyuan.examine.forgetting import Forgetting
from shuyuan.examine.harness import export
from shuyuan.examine.harness_model import AssistantLM
from shuyuan.examine.knowledge import Knowledge
from shuyuan.examine.machine import machine
from shuyuan.examine.results import Exam
from shuyuan.examine.sitting import Asking, Candidate
from shuyuan.examine.unanswerable import Unanswerable
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.model import open_model

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Sit, export, sit again in the other house, compare, and write bench/results/harness.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--questions", type=int, default=12, help="of the handbook's")
    parser.add_argument("--general", type=int, default=12)
    parser.add_argument("--max-tokens", type=int, default=32)
    given = parser.parse_args()
    model = open_model(given.model, torch.float32)
    assistant = ModelAssistant("bare", model)
    with tempfile.TemporaryDirectory() as scratch:
        workspace = Workspace.create(Path(scratch) / "school", Choices(model=given.model))
        workspace.material.put_questions("handbook", [], handbook())
        ours = hold(
            workspace,
            [Candidate("bare", "bare", lambda: assistant)],
            (Knowledge(), Unanswerable(), Forgetting(items=given.general)),
            "bench",
            questions=given.questions,
            asking=Asking(Decoding(max_tokens=given.max_tokens)),
        )
        folder = Path(scratch) / "tasks"
        names = export(ours.folder, folder, given.max_tokens)
        choices_task(folder, general := ours.general)
        as_model = sat(AssistantLM(assistant), [*names, "choices"], folder)
        settings = f"pretrained={model.folder},dtype=float32,device={model.device}"
        theirs = sat("hf", names, folder, model_args=settings, apply_chat_template=True)
        plain = sat("hf", ["choices"], folder, model_args=settings)
    theirs = {key: {**theirs[key], **plain[key]} for key in theirs}
    found = compared(ours, names, as_model, theirs)
    found |= {"likelihoods": likelihoods(as_model, theirs), "choices": len(general) * 4}
    about = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "command": f"python bench/harness.py --model {given.model} --questions {given.questions} "
        f"--general {given.general} --max-tokens {given.max_tokens}",
        "versions": {name: version(name) for name in ("lm_eval", "torch", "transformers")},
        "model": given.model,
    }
    write_json(ROOT / "bench" / "results" / "harness.json", {**about, **found})
    write_whole(ROOT / "bench" / "results" / "harness.md", drawn({**about, **found}))
    print(drawn({**about, **found}))


def handbook() -> list[Question]:
    """The handbook's exam questions, as a workspace would hold them."""
    rows = [json.loads(line) for line in (ROOT / "examples/handbook/questions.jsonl").read_text("utf-8").splitlines()]
    found = []
    for number, row in enumerate(row for row in rows if row["use"] == "exam"):
        golds = row["answer"]
        answers = () if golds is None else (golds,) if isinstance(golds, str) else tuple(golds)
        found.append(Question(f"q{number}", row["question"], answers, row["language"], row["fact"]))
    return found


def choices_task(folder: Path, general: Sequence[Question]) -> None:
    """A multiple-choice task of the general items, with three answers of other items beside the right one."""
    rows = []
    for at, item in enumerate(general):
        others = [one.answers[0] for one in general if one.answers[0] != item.answers[0]]
        options = [item.answers[0], *random.Random(at).sample(others, 3)]
        rows.append({**vars_of(item), "options": options, "marks": []})
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_whole(folder / "choices.jsonl", lines)
    task = {
        "task": "choices",
        "dataset_path": "json",
        "custom_dataset": "!rows",
        "dataset_kwargs": {"task_file": "choices.jsonl"},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{text}}",
        "doc_to_choice": "{{options}}",
        "doc_to_target": 0,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    write_whole(folder / "choices.yaml", yaml.safe_dump(task).replace("'!rows'", "!function marks.rows"))


def vars_of(question: Question) -> dict[str, Any]:
    """The id and text of a question; a choices task needs no more."""
    return {"id": question.id, "text": question.text}


def sat(model: Any, tasks: Sequence[str], folder: Path, **how: Any) -> dict[str, Any]:
    """What the harness says: `results` by task, and `samples` by task."""
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    told = simple_evaluate(
        model, tasks=list(tasks), task_manager=manager, batch_size=1, bootstrap_iters=0, log_samples=True, **how
    )
    return {"results": told["results"], "samples": told["samples"]}


def compared(
    ours: Exam, tasks: Sequence[str], as_model: dict[str, Any], theirs: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """For each task and metric the three scores; for each task how many replies are the same text."""
    (sheet,) = ours.sheets
    scores, replies = {}, {}
    for task in tasks:
        paper = task.removeprefix("shuyuan_bench_")
        for key, value in theirs["results"][task].items():
            metric = key.partition(",")[0]
            if f"{paper}/{metric}" in sheet.scores:
                own = sheet.value(f"{paper}/{metric}")
                scores[f"{paper}/{metric}"] = [own, as_model["results"][task][key], value]
        told = {row["doc"]["id"]: row["resps"][0][0].strip() for row in theirs["samples"][task]}
        said = {row["doc"]["id"]: row["resps"][0][0].strip() for row in as_model["samples"][task]}
        kept = {id: sheet.answers[id].text for id in told}
        different = [[kept[id], said[id], told[id]] for id in told if not told[id] == said[id] == kept[id]]
        replies[paper] = {"n": len(told), "the_same_text": len(told) - len(different), "different": different}
    return {"scores": scores, "replies": replies}


def likelihoods(as_model: dict[str, Any], theirs: dict[str, Any]) -> dict[str, float]:
    """How far two readings of the same continuations are apart, in nats."""
    pairs = [
        (ours, other)
        for mine, its in zip(as_model["samples"]["choices"], theirs["samples"]["choices"], strict=True)
        for ours, other in zip(mine["filtered_resps"], its["filtered_resps"], strict=True)
    ]
    return {
        "n": len(pairs),
        "largest_difference": max(abs(ours[0] - other[0]) for ours, other in pairs),
        "same_greedy": sum(bool(ours[1]) == bool(other[1]) for ours, other in pairs),
        "acc_ours": as_model["results"]["choices"]["acc,none"],
        "acc_theirs": theirs["results"]["choices"]["acc,none"],
    }


def drawn(found: dict[str, Any]) -> str:
    """The page."""
    rows = [f"| {name} | {' | '.join(f'{value:.4f}' for value in three)} |" for name, three in found["scores"].items()]
    replies = ", ".join(f"{paper} {row['the_same_text']} of {row['n']}" for paper, row in found["replies"].items())
    different = [three for row in found["replies"].values() for three in row["different"]]
    told = found["likelihoods"]
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return "\n".join(
        [
            "# Two houses, one paper\n",
            f"{found['date']} · {found['model']}, float32, greedy · {versions} · `{found['command']}`\n",
            "| paper/metric | Shuyuan's exam | lm-eval, Shuyuan's assistant | lm-eval, its own `hf` model |",
            "|-|-:|-:|-:|",
            *rows,
            f"\nReplies that are the same text in all three: {replies}.\n",
            *(f"- {' · '.join(f'`{text}`' for text in three)}{_why(three)}" for three in different),
            f"\nLog-likelihoods of {told['n']} continuations: the largest difference is "
            f"{told['largest_difference']:.1e} nats; greedy or not, the same for {told['same_greedy']}; "
            f"accuracy {told['acc_ours']:.4f} and {told['acc_theirs']:.4f}.\n",
        ]
    )


def _why(three: Sequence[str]) -> str:
    whole = len({text.rstrip("\ufffd") for text in three}) == 1
    return " (cut at its greatest length inside a character: Shuyuan leaves the half out)" if whole else ""


if __name__ == "__main__":
    main()
