"""Settings are the object: a frozen record whose fields carry help and bounds; flags and tables are drawn from it."""

from __future__ import annotations

import argparse
import types
from collections.abc import Mapping
from typing import Any, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from shuyuan.base.chinese import language, word
from shuyuan.base.errors import Fixable, near_miss

MOST_SETTINGS = 12


class Settings(BaseModel):
    """A way of doing something, with its settings. Building it does nothing; it cannot be changed afterwards.

    Subclasses declare each field as `name: Annotated[int, Field(ge=1, le=256, description="…")] = 16`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=False)

    @classmethod
    def of(cls, given: Mapping[str, Any], place: str = "") -> Self:
        """Build from plain values; an unknown name or a value out of bounds is a `Fixable` that says which."""
        for name in given:
            if name not in cls.model_fields:
                raise Fixable(
                    f"{cls.__name__.lower()} has no setting '{name}'", near_miss(name, cls.model_fields), place
                )
        try:
            return cls(**given)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            what = f"'{name}' of {cls.__name__.lower()} cannot be {first['input']!r}: {first['msg'].lower()}"
            raise Fixable(what, field_help(cls.model_fields[name]) if name in cls.model_fields else "", place) from None

    def but(self, **changes: Any) -> Self:
        """The same settings with some changed, checked as in `of`."""
        return self.of({**self.model_dump(), **changes})


def bounds(info: FieldInfo) -> str:
    """The bounds of a number: `≥ 1, ≤ 256`."""
    signs = (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
    limits = ((sign, getattr(rule, name, None)) for rule in info.metadata for name, sign in signs)
    return ", ".join(f"{sign} {limit}" for sign, limit in limits if limit is not None)


def field_help(info: FieldInfo) -> str:
    """One line: the note, the bounds and the default."""
    default = _default(info)
    notes = [bounds(info)] * bool(bounds(info)) + [f"default {default}"] * bool(default)
    return (info.description or "") + (f" ({'; '.join(notes)})" if notes else "")


def _flag_help(info: FieldInfo) -> str:
    """As `field_help`, in the reader's language."""
    if language() == "en":
        return field_help(info)
    default = _default(info)
    notes = [bounds(info).replace(", ", "，")] * bool(bounds(info)) + [f"默认 {default}"] * bool(default)
    return word(info.description or "") + (f"（{'；'.join(notes)}）" if notes else "")


def _default(info: FieldInfo) -> str:
    if info.is_required() or info.default in ("", None, (), False):
        return ""
    return ", ".join(map(str, info.default)) if isinstance(info.default, tuple) else str(info.default)


def add_flags(parser: argparse.ArgumentParser, settings: type[Settings]) -> None:
    """Give a parser one `--flag` for each field; required fields become positional arguments."""
    for name, info in settings.model_fields.items():
        kind, many = _plain_type(info.annotation)
        text = _flag_help(info).replace("%", "%%")
        flag = "--" + name.rstrip("_").replace("_", "-")  # `with_` is a keyword's way into a record
        if info.is_required():
            parser.add_argument(name, help=text, nargs="+" if many else None, metavar=name.upper())
        elif (info.json_schema_extra or {}).get("positional"):  # type: ignore[union-attr]
            parser.add_argument(name, help=text, nargs="*" if many else "?", metavar=name.upper(), default=None)
        elif kind is bool:
            parser.add_argument(flag, dest=name, help=text, action=argparse.BooleanOptionalAction, default=None)
        elif get_origin(kind) is Literal:
            several = "+" if many else None
            parser.add_argument(flag, dest=name, help=text, choices=get_args(kind), nargs=several, default=None)
        else:
            metavar = getattr(kind, "__name__", "value").upper()
            parser.add_argument(flag, dest=name, help=text, nargs="+" if many else None, metavar=metavar, default=None)


def given_flags(parsed: argparse.Namespace, settings: type[Settings]) -> dict[str, Any]:
    """The values the person gave, by field name; what was not given keeps its default."""
    values = {name: getattr(parsed, name, None) for name in settings.model_fields}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if v not in (None, [])}


def _plain_type(annotation: Any) -> tuple[Any, bool]:
    """The type of one value, and whether the field takes several: `tuple[str, ...]` → (str, True)."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) in (tuple, list):
        return get_args(annotation)[0], True
    return annotation, False
