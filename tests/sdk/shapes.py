"""Whether a request has the shape that a provider's own SDK declares for it: unknown members are as wrong as missing ones."""

import types
import typing
from collections.abc import Iterable, Mapping, Sequence

from typing_extensions import NotRequired, ReadOnly, Required, is_typeddict

_HINTS = {}
_WRAPPERS = (Required, NotRequired, ReadOnly, typing.Annotated, typing.Required, typing.NotRequired)


class WrongShape(Exception):
    """Says where, and what is wrong there."""


def check(value, shape, path="body"):
    """Fails unless `value`, as JSON has it, is of the type `shape`: TypedDicts, unions, literals, lists and plain types."""
    origin, arguments = typing.get_origin(shape), typing.get_args(shape)
    if isinstance(shape, typing.TypeAliasType if hasattr(typing, "TypeAliasType") else ()):
        return check(value, shape.__value__, path)
    if shape in (typing.Any, object):
        return None
    if origin in _WRAPPERS:
        return check(value, arguments[0], path)
    if origin in (typing.Union, types.UnionType):
        return _check_union(value, arguments, path)
    if origin is typing.Literal:
        return None if value in arguments else _wrong(path, f"{value!r} is none of {arguments}")
    if is_typeddict(shape):
        return _check_members(value, shape, path)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            _wrong(path, f"{_named(value)} is no object")
        for name, member in value.items():
            check(member, arguments[1], f"{path}.{name}")
        return None
    if (isinstance(origin, type) and issubclass(origin, (Iterable, Sequence))) or getattr(shape, "__name__", "") == "SequenceNotStr":
        if not isinstance(value, list):
            _wrong(path, f"{_named(value)} is no list")
        for index, item in enumerate(value):
            check(item, arguments[0], f"{path}[{index}]")
        return None
    return _check_plain(value, shape, path)


def _check_plain(value, shape, path):
    if shape is type(None) or shape is None:
        fits = value is None
    elif shape is bool:
        fits = isinstance(value, bool)
    elif shape is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif shape is float:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    elif shape is str:
        fits = isinstance(value, str)
    else:
        # Files, omitted values and the like: nothing that JSON can be.
        fits = False
    return None if fits else _wrong(path, f"{_named(value)} is no {shape}")


def _check_members(value, shape, path):
    if not isinstance(value, dict):
        _wrong(path, f"{_named(value)} is no object of the shape {shape.__name__}")
    hints = _hints(shape)
    for name in shape.__required_keys__:
        if name not in value:
            _wrong(path, f"`{name}` is missing ({shape.__name__})")
    for name, member in value.items():
        if name not in hints:
            _wrong(path, f"`{name}` is unknown ({shape.__name__})")
        check(member, hints[name], f"{path}.{name}")


def _check_union(value, choices, path):
    """Any choice will do. What is said of the choice that got furthest is the most telling, and only of those of its type or role."""
    best = None
    for choice in [choice for choice in choices if _may_be(value, choice)] or choices:
        try:
            return check(value, choice, path)
        except WrongShape as wrong:
            if best is None or len(_place(wrong)) > len(_place(best)):
                best = wrong
    raise best


def _may_be(value, shape):
    """Whether the words that tell objects apart fit."""
    if not (isinstance(value, dict) and is_typeddict(shape)):
        return True
    hints = _hints(shape)
    for name in ("type", "role"):
        words = typing.get_args(hints.get(name)) if typing.get_origin(hints.get(name)) is typing.Literal else ()
        if words and name in value and value[name] not in words:
            return False
    return True


def _hints(shape):
    if shape not in _HINTS:
        _HINTS[shape] = typing.get_type_hints(shape)
    return _HINTS[shape]


def _place(wrong):
    return str(wrong).split(": ", 1)[0]


def _wrong(path, what):
    raise WrongShape(f"{path}: {what}")


def _named(value):
    text = repr(value)
    return text if len(text) < 80 else f"{text[:80]}…"
