"""Documents as typed values.

A frozen dataclass reads from, and writes to, the JSON of a store.

Fields are JSON keys. A field that an older version lacks reads as its default; one of a newer version is ignored.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from fleetalign.interval import Interval, format_time, parse_time


class Document:
    """Base of the dataclasses that are JSON documents, or parts of one.

    Values may be plain JSON, times, intervals, documents, and tuples and mappings of those.
    """

    __slots__ = ()

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Read the JSON object ``document``.

        Raises:
            KeyError: a field without default is missing.
        """
        hints = _hints(cls)  # type: ignore[arg-type]  # a class is hashable
        values = {name: _read(hint, document[name]) for name, hint in hints.items() if name in document}
        try:
            return cls(**values)
        except TypeError:
            raise KeyError(*sorted(hints.keys() - values.keys())) from None

    def as_document(self) -> dict[str, Any]:
        """Return the JSON object, from which ``from_document`` makes an equal value."""
        names = _hints(type(self))  # type: ignore[arg-type]  # a class is hashable
        return {name: _write(getattr(self, name)) for name in names}


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    """Return the fields of a document with their types, in order."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _read(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if value is None:
        return None
    if origin in (types.UnionType, typing.Union):
        return _read(next(a for a in arguments if a is not type(None)), value)
    if origin is tuple:
        return tuple(_read(arguments[0], item) for item in value)
    if origin is Mapping:
        return {key: _read(arguments[1], item) for key, item in value.items()}
    if hint is Interval:
        return Interval.parse(value["start"], value["end"])
    if hint is datetime:
        return parse_time(value)
    if isinstance(hint, type) and issubclass(hint, Document):
        return hint.from_document(value)
    return value


def _write(value: Any) -> Any:
    if isinstance(value, Document):
        return value.as_document()
    if isinstance(value, tuple):
        return [_write(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _write(item) for key, item in value.items()}
    if isinstance(value, Interval):
        return value.as_json()
    return format_time(value) if isinstance(value, datetime) else value
