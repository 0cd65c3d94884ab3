"""Reads JSON the way Google's servers do: against a table of fields, refusing whatever the table does not name.

A `Message` is data: field name (lowerCamelCase) to reader. `Message.read` returns the object with snake_case names
turned to lowerCamelCase and nulls left out, and appends one `Problem` for each field that protobuf's JSON mapping
would refuse (sheet google, rules 12, 16, 29). What protobuf lets through (missing fields, empty lists, odd counts)
passes here as well: that is the business of the rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import orjson

_CAPITAL = re.compile(r"(?<=[a-z0-9])([A-Z])")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_INTEGER = re.compile(r"-?\d+", re.ASCII)
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?|NaN|-?Infinity", re.ASCII)


class Problem(NamedTuple):
    """One thing that cannot be read. `field` is the path in snake_case; unknown names stay as they were sent."""

    field: str
    description: str


Reader = Callable[[Any, str, str, list[Problem]], Any]
"""`(item, path of the parent, own name, problems) -> item as it is to be kept`. Paths are joined only when needed."""


def snake(name: str) -> str:
    """`adUserData` to `ad_user_data`."""
    return _CAPITAL.sub(r"_\1", name).lower()


def _path(parent: str, name: str) -> str:
    return f"{parent}.{name}" if parent else name


def _wrong(parent: str, name: str, expected: str, item: Any, problems: list[Problem]) -> None:
    field = snake(_path(parent, name))
    shown = orjson.dumps(item).decode()[:80]
    problems.append(Problem(field, f"Invalid value at '{field}' ({expected}): {shown}"))


def text(item: Any, parent: str, name: str, problems: list[Problem]) -> Any:
    """A string; also bytes, which travel as base64 and are decoded leniently."""
    if type(item) is not str:
        _wrong(parent, name, "TYPE_STRING", item, problems)
    return item


def boolean(item: Any, parent: str, name: str, problems: list[Problem]) -> Any:
    """`true` or `false`, never text."""
    if type(item) is not bool:
        _wrong(parent, name, "TYPE_BOOL", item, problems)
    return item


def double(item: Any, parent: str, name: str, problems: list[Problem]) -> Any:
    """A number, or a number written as text, which protobuf's JSON mapping reads as well."""
    if type(item) is float or type(item) is int:
        return item
    if type(item) is str and _NUMBER.fullmatch(item):
        return float(item)
    _wrong(parent, name, "TYPE_DOUBLE", item, problems)
    return item


def integer(bits: int) -> Reader:
    """A signed integer of so many bits; text with digits and floats without a fraction count."""
    limit = 1 << (bits - 1)

    def read(item: Any, parent: str, name: str, problems: list[Problem]) -> Any:
        number = item
        if type(item) is str and _INTEGER.fullmatch(item):
            number = int(item)
        if type(item) is float and item.is_integer():
            number = int(item)
        if type(number) is not int or not -limit <= number < limit:
            _wrong(parent, name, f"TYPE_INT{bits}", item, problems)
        return number

    return read


int32 = integer(32)
int64 = integer(64)


def timestamp(item: Any, parent: str, name: str, problems: list[Problem]) -> Any:
    """RFC 3339 with a zone; stays text, so that what is stored reads as it was sent."""
    if type(item) is str and _RFC3339.fullmatch(item) and seconds(item) is not None:
        return item
    _wrong(parent, name, "google.protobuf.Timestamp", item, problems)
    return item


def seconds(moment: str) -> float | None:
    """Unix seconds of an ISO 8601 time with zone, or `None` if there is no such day or hour."""
    try:
        return datetime.fromisoformat(moment).timestamp()
    except (ValueError, OverflowError):
        return None


def enum(*names: str) -> Reader:
    """One of the names. Protobuf would take numbers too; no Google document uses them, so they are refused here."""
    allowed = frozenset(names)

    def read(item: Any, parent: str, name: str, problems: list[Problem]) -> Any:
        if type(item) is not str or item not in allowed:
            _wrong(parent, name, "one of " + ", ".join(names), item, problems)
        return item

    return read


def many(reader: Reader) -> Reader:
    """A list of what `reader` reads."""

    def read(item: Any, parent: str, name: str, problems: list[Problem]) -> Any:
        if type(item) is not list:
            _wrong(parent, name, "a list", item, problems)
            return []
        for index, element in enumerate(item):
            kept = reader(element, parent, f"{name}[{index}]", problems)
            if kept is not element:
                item[index] = kept
        return item

    return read


class Message:
    """A table of fields. An instance is itself a `Reader`, so that tables nest."""

    __slots__ = ("_exclusive", "_names", "fields")

    def __init__(self, fields: Mapping[str, Reader], *exclusive: frozenset[str]) -> None:
        """`exclusive`: sets of fields of which a message may hold one only (protobuf's `oneof`)."""
        self.fields = dict(fields)
        self._names = {snake(name): name for name in fields} | {name: name for name in fields}
        self._exclusive = exclusive

    def __call__(self, item: Any, parent: str, name: str, problems: list[Problem]) -> Any:
        if type(item) is not dict:
            _wrong(parent, name, "an object", item, problems)
            return {}
        return self.read(item, f"{parent}.{name}" if parent else name, problems)

    def read(self, item: dict[str, Any], path: str, problems: list[Problem]) -> dict[str, Any]:
        """The object as it is to be kept: `item` itself, its values replaced where they had to be rewritten.

        `path` is in lowerCamelCase and turned to snake_case only where a problem is told, for speed.
        """
        fields = self.fields
        if None in item.values() or not item.keys() <= fields.keys():
            item = self._tidy(item, path, problems)
        for name, value in item.items():
            kept = fields[name](value, path, name, problems)
            if kept is not value:
                item[name] = kept
        for group in self._exclusive:
            if len(group & item.keys()) > 1:
                both = ", ".join(sorted(map(snake, group & item.keys())))
                problems.append(
                    Problem(snake(path), f"Invalid value at '{snake(path)}': only one of {both} may be set")
                )
        return item

    def _tidy(self, item: dict[str, Any], path: str, problems: list[Problem]) -> dict[str, Any]:
        tidy: dict[str, Any] = {}
        for sent, value in item.items():
            name = self._names.get(sent)
            where = f"{snake(path)}.{sent}" if path else sent
            if name is None:
                problems.append(Problem(where, f"Unknown name \"{sent}\" at '{snake(path)}': there is no such field"))
                continue
            if name in tidy:
                problems.append(Problem(where, f"'{where}' is set twice, under two spellings"))
            if value is not None:
                tidy[name] = value
        return tidy


def parse(body: bytes, content_type: str, message: Message) -> tuple[dict[str, Any], list[Problem]]:
    """The request's object and everything in it that cannot be read (then the object is of no use)."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        return {}, [Problem("", "Invalid JSON payload: the Content-Type must be application/json")]
    try:
        item = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return {}, [Problem("", f"Invalid JSON payload: {error}")]
    if type(item) is not dict:
        return {}, [Problem("", "Invalid JSON payload: the body must be an object")]
    problems: list[Problem] = []
    return message.read(item, "", problems), problems
