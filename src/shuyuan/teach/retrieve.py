"""Give the model the books: look passages up for each question, answer from them and cite them. No weight changes."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Assistant, Lessons, Run
from shuyuan.recall.fuse import Fuse
from shuyuan.recall.ground import Ground
from shuyuan.recall.grounded import GroundedAssistant
from shuyuan.recall.searching import Library


class Retrieve(Ground):
    """Build a library from the passages and put it in front of any assistant, taught or not."""

    learns_examples: ClassVar[bool] = False
    changes_weights: ClassVar[bool] = False
    renews: ClassVar[str] = "library"
    context: Annotated[
        bool, Field(description="the assistant writes what each passage is about, and it is searched too; takes long")
    ] = False
    word_weight: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="share of the ranking by words, the rest goes to meaning; left out: as tuned, or else 0.3",
        ),
    ] = None
    depth: Annotated[
        int | None,
        Field(ge=1, le=1000, description="passages that each ranking gives; left out: as tuned, or else 50"),
    ] = None
    store: Annotated[
        str, Field(description="where vectors and words are kept (shuyuan store lists them); empty: lance, or as moved")
    ] = ""

    def teach(self, assistant: Assistant, lessons: Lessons, run: Run) -> Assistant:
        """Build the library in `run.folder/library`, or bring it up to date, and put it in front of `assistant`.

        Raises Fixable when the lessons hold no passages.
        """
        from shuyuan.load.embedder import open_embedder
        from shuyuan.recall.contexts import contextual

        if not lessons.passages:
            raise Fixable("there are no documents to look anything up in", "add some first: shuyuan add <folder>")
        library = Library.build(
            run.folder / "library",
            contextual(lessons.passages, assistant, run.cache) if self.context else lessons.passages,
            open_embedder(run.embedder),
            run.cache,
            store=self.store,
            fuse=self._fuse(),
            material=run.material,
        )
        return GroundedAssistant(run.name, assistant, library, self)

    def open(self, assistant: Assistant, run: Run) -> Assistant:
        """Put the library that was built in `run.folder/library` in front of `assistant`."""
        from shuyuan.load.embedder import open_embedder

        library = Library.open(run.folder / "library", open_embedder(run.embedder), self._fuse(), run.material)
        return GroundedAssistant(run.name, assistant, library, self)

    def _fuse(self) -> Fuse | None:
        """The settings given by hand, over the defaults; None: the library's own."""
        given = {"depth": self.depth, "word_weight": self.word_weight}
        given = {name: value for name, value in given.items() if value is not None}
        return Fuse.of(given) if given else None
