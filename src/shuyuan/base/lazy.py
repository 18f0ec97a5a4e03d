"""Sequences whose items are made when they are asked for, so that they may be more than memory holds."""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TypeVar, overload

T = TypeVar("T")


class Lazy(Sequence[T]):
    """Offers a whole sequence from `__len__` and `_at`, the item at an index that is within it."""

    @abstractmethod
    def _at(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        within = range(len(self))  # counts from the end and raises as a list does
        if isinstance(index, slice):
            return tuple(self._at(i) for i in within[index])
        return self._at(within[operator.index(index)])

    def __iter__(self) -> Iterator[T]:
        return (self._at(i) for i in range(len(self)))
