"""transformers' own generate, the reference: `python transformers_generate.py JOB REPORT`.

Also reports how sure it was: at each token it said, the gap in nats between its first and its second choice.
"""

import torch
from generating import race, read_job
from transformers import AutoModelForCausalLM
from watching import TORCH


def main() -> None:
    """Options: `dtype`. Prompts are padded at the left, as its manual says."""
    job = read_job()
    net = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, job["options"]["dtype"])).eval()

    @torch.inference_mode()
    def generate(prompts: list, most: int) -> list:
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        said = net.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=most,
            do_sample=False,
            repetition_penalty=1.0,
            temperature=None,
            top_p=None,
            top_k=None,
            eos_token_id=job["ends"],
            pad_token_id=job["ends"][0],
        )
        return said[:, longest:].tolist()

    @torch.inference_mode()
    def gaps(prompt: list, answer: list) -> list:
        logits = net(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 :].float()
        first, second = logits.topk(2).values.T
        return (first - second).tolist()

    race(generate, job, TORCH, gaps)


if __name__ == "__main__":
    main()
