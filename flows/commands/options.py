"""Options of a command made from the fields of settings, so that a default and a limit stand in one place."""

import inspect
import os
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from annotated_types import Ge, Le
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from mimicmotion.errors import InputError
from mimicmotion.settings import Section
from mimicmotion.video.size import Size


def takes(
    names: Mapping[str, str], configured: type[Section], *others: type[Section]
) -> Callable[[Callable[..., None]], Any]:
    """Give a command an option for every field of these sections.

    The command is called with ``given``: field -> value of the options that a person gave.

    Args:
        names: field -> its option, where that is not the field's name; of a switch ``--on/--off``.
        configured: whose fields the config supplies where they are not given.
        others: further sections.
    """
    sections = (configured, *others)
    fields = {name: field for section in sections for name, field in section.model_fields.items()}

    def decorate(command: Callable[..., None]) -> Any:
        @wraps(command)
        def wrapped(**values: Any) -> None:
            given = {name: values.pop(name) for name in fields}
            sizes = {name: _size(names.get(name, f"--{name}"), given[name]) for name in _sizes(fields, given)}
            chosen = {name: value for name, value in {**given, **sizes}.items() if value is not None}
            command(**values, given=chosen)

        own = [one for one in inspect.signature(command).parameters.values() if one.name != "given"]
        added = [
            _parameter(name, field, names.get(name), name in configured.model_fields)
            for name, field in fields.items()
        ]
        wrapped.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
        wrapped.__annotations__ = {one.name: one.annotation for one in (*own, *added)}
        return wrapped

    return decorate


def option_of(field: str) -> str:
    """The option of a field that keeps its name."""
    return f"--{field.replace('_', '-')}"


def check_file(option: str, path: Path | None) -> None:
    """Refuse a place where no file can be written, before the work.

    Raises:
        InputError: it is one; names the option.
    """
    if path is None:
        return
    if path.is_dir():
        raise InputError(f"{option} {path} is a folder; name a file")
    folder = next(one for one in path.absolute().parents if one.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{option} {path} cannot be written: {folder} is no folder that can be written to")


def checked(section: type[Section], values: Mapping[str, Any], names: Mapping[str, str]) -> Any:
    """The section with these values.

    Raises:
        InputError: a value is not allowed; names its option.
    """
    try:
        return section.model_validate(values)
    except ValidationError as error:
        lines = [
            f"{names.get(str(one['loc'][0]), option_of(str(one['loc'][0])))}: got "
            f"{one['input']!r}, allowed: {one['msg'].removeprefix('Input should be ')}"
            for one in error.errors(include_url=False)
        ]
        raise InputError(*lines) from error


def _parameter(name: str, field: FieldInfo, option: str | None, configured: bool) -> inspect.Parameter:
    kind = _kind(field)
    limits = {Ge: "min", Le: "max"}
    more: dict[str, Any] = {
        limits[type(one)]: one.ge if isinstance(one, Ge) else one.le
        for one in field.metadata
        if isinstance(one, (Ge, Le)) and kind in (int, float)
    }
    text = (field.description or "").replace("null takes", "else").replace("null:", "else")
    if field.default not in (None, False, True):
        source = "the config's, or " if configured else ""
        text += f" Else {source}{field.default}."
    option = option or option_of(name)
    if kind is bool and "/" not in option:
        option = f"{option}/--no-{option.removeprefix('--')}"
    shown: Any = str if kind is Size else kind | None
    shown = Annotated[shown, typer.Option(option, help=text, **more)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=shown)


def _kind(field: FieldInfo) -> Any:
    """The type of a field without None."""
    kind: Any = field.annotation
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (one for one in get_args(kind) if one is not type(None))
    return kind


def _sizes(fields: Mapping[str, FieldInfo], given: Mapping[str, Any]) -> list[str]:
    return [name for name, field in fields.items() if _kind(field) is Size and given[name] is not None]


def _size(option: str, text: str) -> Size:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise InputError(f"{option} {text} is not understood; write WIDTHxHEIGHT, e.g. 576x1024")
    return Size(int(width), int(height))
