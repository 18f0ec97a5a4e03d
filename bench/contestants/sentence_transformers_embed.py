"""sentence-transformers, the reference: `python sentence_transformers_embed.py JOB REPORT`."""

from embedding_texts import race, read_job
from sentence_transformers import SentenceTransformer
from watching import TORCH


def main() -> None:
    """Options: `dtype`. Batches of 32, sorted by length, are its own default."""
    job = read_job()
    model = SentenceTransformer(
        job["model"], device="cpu", local_files_only=True, model_kwargs={"dtype": job["options"]["dtype"]}
    )
    race(
        lambda texts: model.encode(texts, prompt_name="passage", show_progress_bar=False),
        job,
        (*TORCH, "sentence-transformers"),
    )


if __name__ == "__main__":
    main()
