"""LlamaIndex's query engine as it comes, over our passages, vectors and weights: JOB REPORT are its arguments.

Its own prompts, its own way of putting passages into them (`compact`), its in-memory vector store; only how many
passages it looks up is set, to the number that ours shows the model. The model is reached through its chat interface,
so its chat prompt with a system message is used.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_index.core
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.schema import TextNode
from pydantic import PrivateAttr

from shuyuan.base.files import read_jsonl
from shuyuan.base.records import Decoding, Message
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.embedder import open_embedder
from shuyuan.load.model import open_model


class SameEmbedder(BaseEmbedding):
    """The embedder that ours uses, with its own words in front of questions."""

    _embedder: Any = PrivateAttr()

    def __init__(self, name: str) -> None:
        super().__init__(model_name=name)
        self._embedder = open_embedder(name)

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._embedder.embed([query], "query")[0].tolist()

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._embedder.embed([text], "passage")[0].tolist()

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


class SameModel(CustomLLM):
    """The model that ours asks, greedy, through its chat template."""

    _assistant: Any = PrivateAttr()
    _most: int = PrivateAttr()
    _read: int = PrivateAttr(default=0)

    def __init__(self, name: str, most_tokens: int) -> None:
        super().__init__()
        self._assistant, self._most = ModelAssistant("bare", open_model(name)), most_tokens

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex plans its prompts by."""
        context = min(8192, self._assistant.model.context)
        return LLMMetadata(context_window=context, num_output=self._most, is_chat_model=True)

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **_: Any) -> ChatResponse:
        """Answer a conversation."""
        turns = [Message(turn.role.value, turn.content or "") for turn in messages]
        (said,) = self._assistant.answer([turns], Decoding(max_tokens=self._most))
        self._read += said.prompt_tokens
        return ChatResponse(message=ChatMessage(role="assistant", content=said.text))

    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        """Answer a single prompt."""
        return CompletionResponse(text=self.chat([ChatMessage(role="user", content=prompt)]).message.content or "")

    def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> Any:
        """Not used here."""
        raise NotImplementedError


def main() -> None:
    """Answer the job's questions, adding each answer to its `kept` file, and report."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    kept = Path(job["kept"])
    done = {row["id"]: row for row in read_jsonl(kept)}
    nodes = [
        TextNode(id_=row["id"], text=row["text"], metadata={"title": row["title"]}, embedding=row["vector"])
        for row in read_jsonl(Path(job["passages"]))
    ]
    model = SameModel(job["model"], job["most_tokens"])
    index = VectorStoreIndex(nodes, embed_model=SameEmbedder(job["embedder"]))
    engine = index.as_query_engine(llm=model, similarity_top_k=job["top_k"])
    ends = time.monotonic() + job["seconds"]
    for question in job["questions"]:
        if question["id"] in done or time.monotonic() > ends:
            continue
        before, began = model._read, time.process_time()
        said = engine.query(question["text"])
        row = {
            "id": question["id"],
            "text": said.response,
            "retrieved": [found.node.node_id for found in said.source_nodes],
            "prompt_tokens": model._read - before,
            "cpu_seconds": time.process_time() - began,
        }
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    Path(sys.argv[2]).write_text(json.dumps({"versions": {"llama-index-core": llama_index.core.__version__}}))


if __name__ == "__main__":
    main()
