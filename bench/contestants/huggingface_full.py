"""A plain Hugging Face loop on a job of full fine-tuning: `python huggingface_full.py JOB REPORT`.

Float32 weights, torch's fused AdamW, no gradient checkpointing, bfloat16 autocast where the option `autocast` asks for
it: how most people would write it.
"""

import time

import torch
from transformers import AutoModelForCausalLM
from watching import TORCH, read_job, report


def main() -> None:
    """Teach every weight. The sequences of a step are of one length, so there is no padding."""
    job = read_job()
    net = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32).train()
    optimiser = torch.optim.AdamW(net.parameters(), betas=tuple(job["betas"]), weight_decay=0.0, fused=True)
    steps, mark = [], time.process_time()
    for rate, step in zip(job["rates"], job["steps"], strict=True):
        ids = torch.tensor([sequence["ids"] for sequence in step])
        with torch.autocast("cpu", torch.bfloat16, enabled=job["options"]["autocast"]):
            loss = net(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), job["clip"])
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        optimiser.zero_grad()
        value, now = loss.item(), time.process_time()
        counts = {"tokens": ids.numel(), "computed": ids.numel(), "learned": ids[:, 1:].numel()}
        steps.append({"seconds": now - mark, "loss": value, **counts})
        mark = now
    report(steps, TORCH)


if __name__ == "__main__":
    main()
