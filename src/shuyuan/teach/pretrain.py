"""Pretrain a small model of your own from nothing, with its own vocabulary, as large as the minutes allow."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from shuyuan.base.errors import Fixable
from shuyuan.base.files import fingerprint, read_json, write_json
from shuyuan.base.guards import Guards
from shuyuan.base.progress import say
from shuyuan.base.records import Assistant, Lessons, Run
from shuyuan.base.settings import Settings
from shuyuan.prepare.chat import Encoded
from shuyuan.prepare.pack import Pack, tokens_of
from shuyuan.teach.course import Course, teach_all_weights
from shuyuan.teach.sizing import Shape, Sizes, Text, derive

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

    from shuyuan.train.loop import Plan

SIZES = "sizes.json"
ROWS = Pack(row_tokens=2048)  # computed at once: a small model is slow on less
MOST_ANSWERED = 96  # tokens
PROBE_TOKENS = 4096  # of the step that is timed
PROBE_STEPS = 3  # of which the fastest counts
COUNTED_CHARACTERS = 200_000  # of the text, to compare two vocabularies
COMPARED_BYTES = 8192  # of the held-out text, which the given assistant reads, too


class Pretrain(Settings):
    """Pretraining from scratch: a tokenizer and a Llama that have seen nothing but the documents and the examples.

    Examples are mixed into the text from the start, as conversations in ChatML: what is read and asked about in the
    same training can be told later (Allen-Zhu & Li, arXiv 2309.14316), and one loop is enough.
    """

    learns_documents: ClassVar[bool] = True
    minutes: Annotated[float, Field(gt=0, le=100_000, description="time on this machine; the rest is derived")] = 5.0
    epochs: Annotated[float, Field(gt=0, le=1000, description="most times everything is read")] = 12.0
    layers: Annotated[
        int | None, Field(ge=1, le=128, description="left out: derived; given: everything is read `epochs` times")
    ] = None
    vocabulary: Annotated[
        int | None, Field(ge=300, le=1 << 18, description="most tokens; left out: one for each 48 bytes of text")
    ] = None
    block: Annotated[int, Field(ge=64, le=1 << 15, description="tokens a block of text, and the most it reads")] = 512
    batch: Annotated[int | None, Field(ge=1, le=1 << 16, description="sequences a step; left out: derived")] = None
    learning_rate: Annotated[float | None, Field(gt=0, le=0.1, description="peak; left out: derived")] = None

    def teach(self, assistant: Assistant, lessons: Lessons, run: Run) -> Assistant:
        """Learn the text from nothing; raises when there is none. The given assistant only reads along, to compare."""
        from shuyuan.load.model import Model, best_device

        tokenizer = self._tokenizer(lessons, assistant)
        sequences = self._sequences(lessons, tokenizer, run)
        sizes = self._sizes(sequences, len(tokenizer), run)
        net = fresh_net(sizes.shape, self.block, run.seed).to(best_device())
        model = Model(run.name, net, tokenizer, run.folder)
        course = Course(sequences, sizes.epochs, sizes.batch, run.seed, ROWS, model)
        plan = course.plan(self, replace(run, guards=_guards(run)), sizes.learning_rate, "sequences")
        teach_all_weights(model, plan, run)
        taught = self.open(assistant, run)
        _compare(assistant, taught, tokenizer, plan)
        return taught

    def open(self, assistant: Assistant, run: Run) -> Assistant:
        """The model with the weights of `run`."""
        from shuyuan.load.answering import ModelAssistant
        from shuyuan.load.model import open_model

        model = replace(open_model(str(run.folder / "weights")), name=run.name)
        return ModelAssistant(run.name, model, max_new_tokens=min(MOST_ANSWERED, model.context // 2))

    def _tokenizer(self, lessons: Lessons, assistant: Assistant) -> PreTrainedTokenizerBase:
        from shuyuan.load.answering import ModelAssistant
        from shuyuan.load.vocabulary import fertility, train_tokenizer, vocabulary_size

        texts = [document.text for document in lessons.documents if document.text.strip()]
        if not texts:
            raise Fixable("there are no documents with text to pretrain on", "add some: shuyuan add FOLDER")
        texts += [message.content for example in lessons.examples for message in example.messages]
        size_bytes = sum(len(text.encode()) for text in texts)
        tokenizer = train_tokenizer(texts, self.vocabulary or vocabulary_size(size_bytes))
        some = "\n".join(texts)[:COUNTED_CHARACTERS]
        own = fertility(tokenizer, some)
        said = f"vocabulary {len(tokenizer):,} of {size_bytes:,} bytes: {own:.3f} tokens a character"
        if isinstance(assistant, ModelAssistant):
            other = assistant.model.tokenizer
            said += f" ({assistant.name}: {len(other):,}, {fertility(other, some):.3f})"
        say(said)
        return tokenizer

    def _sequences(self, lessons: Lessons, tokenizer: PreTrainedTokenizerBase, run: Run) -> tuple[Encoded, ...]:
        from shuyuan.prepare.chat import encode_documents, encode_examples

        blocks = encode_documents(lessons.documents, tokenizer, self.block, start=(tokenizer.bos_token_id,))
        conversations, kept = encode_examples(lessons.examples, tokenizer, self.block)
        say(f"{run.name}: {len(blocks):,} blocks of text; {kept}")
        return (*blocks, *conversations)

    def _sizes(self, sequences: tuple[Encoded, ...], vocabulary: int, run: Run) -> Sizes:
        """Derived once and kept with the run: a measurement differs each time, and a resumed run must not."""
        file = run.folder / SIZES
        text = Text(len(sequences), sum(len(sequence.ids) for sequence in sequences))
        mark = fingerprint(self.model_dump(), asdict(text), vocabulary)
        kept = read_json(file) if file.exists() else {}
        if kept.pop("mark", "") == mark:
            return Sizes(**{**kept, "shape": Shape(**kept["shape"]), "why": tuple(kept["why"])})
        sizes = derive(
            text,
            vocabulary,
            self.minutes,
            self.epochs,
            lambda shape: step_speed(shape, sequences, self.block),
            layers=self.layers,
            batch=self.batch,
            learning_rate=self.learning_rate,
        )
        for line in sizes.why:
            say(line)
        write_json(file, {"mark": mark, **asdict(sizes)})
        return sizes


def _guards(run: Run) -> Guards:
    """The run's guards but for the limit of forgetting: who begins from nothing has nothing to forget."""
    if run.guards.forget_limit not in (0.0, Guards().forget_limit):
        raise Fixable("pretrain begins from nothing, so there is nothing to forget", "leave out --forget-limit")
    return run.guards.but(forget_limit=0.0)


def fresh_net(shape: Shape, context: int, seed: int) -> LlamaForCausalLM:
    """A Llama drawn from the seed, in bfloat16 where this machine computes in it, else in float32.

    Weights have a standard deviation of 0.02; those that write into the residual stream one of 0.02 / √(2 · layers),
    so that the stream does not grow with depth (GPT-2). Sequences begin and end with token 0.
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    from shuyuan.load.model import native_bf16
    from shuyuan.load.vocabulary import END_OF_TEXT, END_OF_TURN, SPECIALS

    end_of_text, end_of_turn = SPECIALS.index(END_OF_TEXT), SPECIALS.index(END_OF_TURN)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.layers,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=end_of_text,
        eos_token_id=end_of_text,
        pad_token_id=end_of_text,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.div_((2 * shape.layers) ** 0.5)
    net.generation_config = GenerationConfig(
        bos_token_id=end_of_text, eos_token_id=[end_of_text, end_of_turn], pad_token_id=end_of_text
    )
    return net.to(torch.bfloat16 if native_bf16() else torch.float32).eval()


def step_speed(shape: Shape, sequences: tuple[Encoded, ...], context: int) -> float:
    """Tokens a second of the very step that will be taught, timed on some of the sequences."""
    from shuyuan.load.model import best_device
    from shuyuan.train.loop import gradients, prepared
    from shuyuan.train.optimiser import AdamW
    from shuyuan.train.supervised import Supervised

    net = fresh_net(shape, context, seed=0).to(best_device())
    some = max(1, PROBE_TOKENS * len(sequences) // sum(len(sequence.ids) for sequence in sequences))
    rows = ROWS.pack(sequences[:some])
    learned = dict(net.named_parameters())
    times = []
    with prepared(net, learned):
        optimiser = AdamW(learned)
        for _ in range(PROBE_STEPS):
            began = time.perf_counter()
            gradients(net, Supervised(), rows)
            optimiser.gradient_norm().item()
            optimiser.step(0.0)
            times.append(time.perf_counter() - began)
    return tokens_of(rows) / min(times)


def _compare(given: Assistant, taught: Assistant, tokenizer: PreTrainedTokenizerBase, plan: Plan) -> None:
    """Say how well both predict the held-out text, and how many tokens each needs for it."""
    from shuyuan.measure.bits_per_byte import bits_per_byte

    texts: list[str] = []
    size = 0
    for sequence in (sequence for row in plan.watch.held_out.rows for sequence in row):
        text = str(tokenizer.decode(sequence.ids, skip_special_tokens=True))
        if all(sequence.learned) and size + len(text.encode()) <= COMPARED_BYTES:
            texts.append(text)
            size += len(text.encode())
    if size:
        ours, theirs = (bits_per_byte(sum(a.nats(texts)), size) for a in (taught, given))
        say(f"{size:,} bytes held out: {ours:.2f} bits a byte; {given.name}, which has read much else: {theirs:.2f}")
