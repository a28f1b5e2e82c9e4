"""YAML files as plain values that remember the file and line each of them came from."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mimicmotion.errors import ConfigError

_MAX_VALUES = 10_000
Place = tuple[str | int, ...]
"""Where a value stands in a config: field names and list positions from the top."""


@dataclass(frozen=True)
class Mark:
    """Where a value was written.

    Attributes:
        text: ``file:line``, or the override as the user typed it.
        folder: what a relative path in the value is relative to.
    """

    text: str
    folder: Path


@dataclass
class Tree:
    """A config's plain values, and the mark of each place in it."""

    values: dict[str, Any] = field(default_factory=dict)
    marks: dict[Place, Mark] = field(default_factory=dict)

    def mark(self, place: Place) -> Mark:
        """The mark of a place, or of the nearest one around it."""
        while place and place not in self.marks:
            place = place[:-1]
        return self.marks[place]

    def section(self, place: Place) -> dict[str, Any] | None:
        """The values of a section, or of a part of one; None where there are none."""
        values: Any = self.values
        for name in place:
            values = values.get(name) if isinstance(values, dict) else None
        return values if isinstance(values, dict) else None

    def merge(self, other: "Tree") -> None:
        """Let another tree replace what it also has; sections are merged, lists are replaced."""
        _merge(self, other, self.values, other.values, ())
        self.marks.setdefault((), other.mark(()))


def read_tree(path: Path, folders: Sequence[Path] = ()) -> Tree:
    """A config file with everything it extends merged below it.

    Args:
        folders: where a name that is extended is looked up, after the file's own folder.

    Raises:
        ConfigError: a file is missing or is no YAML mapping, a key stands twice, or files extend in a circle.
    """
    return _read_extended(path, (), folders)


def override_tree(overrides: Sequence[str], folder: Path) -> Tree:
    """What ``a.b=value`` overrides say, each value read as YAML.

    Raises:
        ConfigError: names each override that cannot be read.
    """
    tree = Tree(marks={(): Mark("--set", folder)})
    problems = []
    for override in overrides:
        name, equals, text = override.partition("=")
        names = name.strip().split(".")
        if not equals or not all(names):
            problems.append(f"--set {override}: write it as section.field=value.")
            continue
        try:
            loader, node = _read(text)
            value: Any = None if node is None else loader.construct_document(node)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            problems.append(f"--set {override}: the value is not YAML ({_reason(error)}).")
            continue
        for part in reversed(names):
            value = {part: value}
        mark = Mark(f"--set {override}", folder)
        places: dict[Place, Mark] = {tuple(names[:length]): mark for length in range(1, len(names) + 1)}
        tree.merge(Tree(value, {(): tree.marks[()], **places}))
    if problems:
        raise ConfigError(problems)
    return tree


def find_config(name: str, folders: Sequence[Path]) -> Path:
    """The file that a config name or path means; a bare name is ``<name>.yaml`` of the first folder with it.

    Raises:
        ConfigError: there is none; names the nearest ones.
    """
    is_path = name.endswith((".yaml", ".yml"))
    paths = [Path(name)] if is_path else [folder / f"{name}.yaml" for folder in folders]
    for path in paths:
        if path.is_file():
            return path
    found = {
        file.relative_to(folder).with_suffix("") for folder in folders for file in folder.rglob("*.yaml")
    }
    there = sorted(file.as_posix() for file in found)
    near = difflib.get_close_matches(name, there, n=1)
    hint = f" Did you mean {near[0]}?" if near else f" There are: {', '.join(there) or 'none'}."
    raise ConfigError([f"config {name}: there is no file {paths[0]}.{hint}"])


def _read_extended(path: Path, below: tuple[Path, ...], folders: Sequence[Path]) -> Tree:
    path = path.resolve()
    if path in below:
        circle = " -> ".join(shown(file) for file in below)
        raise ConfigError([f"{shown(path)}: extends itself through {circle}."])
    tree = _read_file(path)
    base = tree.values.pop("extends", None)
    if base is None:
        return tree
    if not isinstance(base, str):
        where = tree.mark(("extends",)).text
        raise ConfigError([f"{where}: extends: got {base!r}, allowed: one config name."])
    is_path = base.endswith((".yaml", ".yml"))
    parent = path.parent / base if is_path else find_config(base, [path.parent, *folders])
    merged = _read_extended(parent, (*below, path), folders)
    merged.merge(tree)
    merged.marks[()] = tree.marks[()]
    return merged


def _read_file(path: Path) -> Tree:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{shown(path)}: cannot be read ({error})."]) from error
    tree = Tree(marks={(): Mark(f"{shown(path)}:1", path.parent)})
    problems: list[str] = []
    try:
        loader, node = _read(text)
        values = {} if node is None else _construct(loader, node, (), tree, path, problems)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError([f"{shown(path)}: is not YAML ({_reason(error)})."]) from error
    if not isinstance(values, dict):
        problems.append(f"{shown(path)}:1: got a {type(values).__name__}, allowed: sections with fields.")
    if problems:
        raise ConfigError(problems)
    tree.values = values
    return tree


def _read(text: str) -> tuple[yaml.SafeLoader, yaml.Node | None]:
    """YAML before it is made into values.

    Raises:
        YAMLError: it is none, or its aliases, which may hold aliases in turn, come to very many values.
    """
    loader = yaml.SafeLoader(text)
    node = loader.get_single_node()
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            return sizes[id(node)]
        sizes[id(node)] = _MAX_VALUES + 1  # of a node within itself
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for one in inner for part in (one if isinstance(one, tuple) else (one,))]
        sizes[id(node)] = 1 + sum(map(size, parts))
        return sizes[id(node)]

    if node is not None and size(node) > _MAX_VALUES:
        raise yaml.YAMLError(f"its aliases come to more than {_MAX_VALUES} values, or go round in a circle")
    return loader, node


def _construct(
    loader: yaml.SafeLoader, node: yaml.Node, place: Place, tree: Tree, path: Path, problems: list[str]
) -> Any:
    line = f"{shown(path)}:{node.start_mark.line + 1}"
    tree.marks[place] = Mark(line, path.parent)
    if isinstance(node, yaml.SequenceNode):
        return [
            _construct(loader, item, (*place, index), tree, path, problems)
            for index, item in enumerate(node.value)
        ]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node, deep=True)
    own = {id(key) for key, _ in node.value}
    loader.flatten_mapping(node)
    values: dict[str, Any] = {}
    written: set[str] = set()
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node)
        key_line = f"{shown(path)}:{key_node.start_mark.line + 1}"
        if not isinstance(key, str):
            problems.append(f"{key_line}: {'.'.join(map(str, place))}: field name {key!r} is not text.")
            continue
        if key in written and id(key_node) in own:
            problems.append(f"{key_line}: {'.'.join(map(str, (*place, key)))}: stands twice in this section.")
        written |= {key} if id(key_node) in own else set()
        values[key] = _construct(loader, value_node, (*place, key), tree, path, problems)
        tree.marks[(*place, key)] = Mark(key_line, path.parent)
    return values


def _merge(tree: Tree, other: Tree, into: dict[str, Any], new: Mapping[str, Any], place: Place) -> None:
    for key, value in new.items():
        here = (*place, key)
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(tree, other, into[key], value, here)
            continue
        into[key] = value
        for old in [mark for mark in tree.marks if mark[: len(here)] == here]:
            del tree.marks[old]
        tree.marks.update({mark: where for mark, where in other.marks.items() if mark[: len(here)] == here})
        tree.marks.setdefault(here, other.mark(here))


def did_you_mean(name: str, allowed: Sequence[str]) -> str:
    """The end of a sentence about an unknown name: the nearest that is allowed, else all."""
    near = difflib.get_close_matches(name, allowed, n=1)
    return f"; did you mean {near[0]}?" if near else f"; allowed: {', '.join(sorted(allowed))}."


def shown(path: Path) -> str:
    """A path as a person wants to read it: relative to the current folder where it lies inside."""
    resolved = path.resolve()
    return str(resolved.relative_to(Path.cwd()) if resolved.is_relative_to(Path.cwd()) else resolved)


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error).splitlines()[0]
