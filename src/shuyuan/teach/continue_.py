"""Go on pretraining all the model's weights on the raw documents, with some other text against forgetting."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Assistant, Lessons, Run
from shuyuan.base.settings import Settings
from shuyuan.teach.course import Course, open_weights, taught_model, teach_all_weights


class Continue(Settings):
    """Continued (incremental) pretraining: predict every token of the documents; no questions and answers are used."""

    learns_examples: ClassVar[bool] = False
    learns_documents: ClassVar[bool] = True
    learning_rate: Annotated[float, Field(gt=0, le=0.1, description="peak learning rate")] = 2e-5
    epochs: Annotated[int, Field(ge=1, le=1000, description="times every document is read")] = 2
    batch: Annotated[int, Field(ge=1, le=4096, description="blocks a step")] = 4
    block: Annotated[int, Field(ge=16, le=1 << 17, description="tokens a block of text")] = 512
    replay: Annotated[float, Field(ge=0, le=0.5, description="share of all tokens that is other text")] = 0.1
    replay_file: Annotated[
        str, Field(description="text file to replay from; left out: the model's own writing, once, about a minute")
    ] = ""

    def teach(self, assistant: Assistant, lessons: Lessons, run: Run) -> Assistant:
        """Learn the documents' text; raises when there is none."""
        from shuyuan.prepare.chat import encode_documents
        from shuyuan.prepare.pack import Pack
        from shuyuan.teach.replay import replayed

        base = taught_model(assistant, "continue")
        blocks = encode_documents(lessons.documents, base.tokenizer, self.block)
        if not blocks:
            raise Fixable("there are no documents with text to go on pretraining with", "add some: shuyuan add FOLDER")
        others = replayed(base, blocks, self.replay, self.replay_file, run)
        course = Course((*blocks, *others), self.epochs, self.batch, run.seed, Pack(row_tokens=self.block), base)
        teach_all_weights(base, course.plan(self, run, self.learning_rate, "blocks"), run)
        return self.open(assistant, run)

    def open(self, assistant: Assistant, run: Run) -> Assistant:
        """The model with the weights of `run`."""
        return replace(open_weights(assistant, run), learned=False, untaught=None)
