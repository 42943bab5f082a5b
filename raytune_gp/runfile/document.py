"""YAML as a run file needs it: the core schema of YAML 1.2, no duplicate keys, and a line for each value.

PyYAML follows YAML 1.1, where `1e-3` is text, `no` is False and `1:30` is ninety. Nothing but plain values
is ever constructed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from raytune_gp.errors import SpecError

__all__ = ["Document", "parse"]


MOST_VALUES = 100_000
"""More than this is no run file."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the resolvers of YAML 1.2."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """The mapping of `node`. Raises where a key stands twice, which PyYAML would let pass."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice in one map", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_integer(self, node: Any) -> int:
        """The integer of `node`; PyYAML would read `010` as 8."""
        text: str = node.value
        return int(text, 16) if text.startswith("0x") else int(text)


_CORE = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
)
_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in _CORE:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_integer)


@dataclass(frozen=True)
class Document:
    """A parsed file: its name, its values, and the tree that knows the lines."""

    name: str
    values: dict[str, Any]
    root: yaml.Node

    def line(self, path: Sequence[Any]) -> int:
        """The line of the value at `path`, from 1; that of its map where it is not there."""
        node = self.root
        line = node.start_mark.line
        for part in path:
            entry = _child(node, part)
            if entry is None:
                break
            key, node = entry
            line = key.start_mark.line
        return line + 1


def _child(node: yaml.Node, part: Any) -> tuple[yaml.Node, yaml.Node] | None:
    """The nodes that say where `part` is, and what it is."""
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    if isinstance(node, yaml.MappingNode):
        return next(((k, v) for k, v in node.value if k.value == str(part)), None)
    return None


def parse(text: str, name: str) -> Document:
    """The map that the YAML `text` holds; `name` is the file's, for messages.

    Raises:
        SpecError: no YAML, several documents, a tag that is not plain, a duplicate key, or no map.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is not None and _count(root, {}) > MOST_VALUES:
            raise SpecError(f"{name} holds more than {MOST_VALUES} values, its aliases written out")
        values = loader.construct_document(root) if root is not None else None
    except yaml.YAMLError as error:
        raise SpecError(_message(error, name)) from None
    except _LoopError:
        raise SpecError(f"{name} has an alias inside of what it stands for, and would never end") from None
    except (ValueError, OverflowError) as error:
        raise SpecError(f"{name} has a value that cannot be read: {error}") from None
    except RecursionError:
        raise SpecError(f"{name} is nested too deeply to be a run file") from None
    if root is None or not isinstance(values, dict):
        raise SpecError(f"{name} holds {_kind(values)}; a run file is a map, such as `metric: accuracy`")
    odd = next((key for key in values if not isinstance(key, str)), None)
    if odd is not None:
        raise SpecError(f"{name} has the key {odd!r}, which is no text: quote it")
    return Document(name, values, root)


_UNUSABLE = re.compile("[\0\ud800-\udfff]")


class _LoopError(Exception):
    """An alias that stands for something with itself inside."""


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values `node` stands for, each alias written out: a short file can stand for billions.

    `known` has the counts of nodes by their ids, 0 while one is counted. Raises _LoopError.
    """
    found = known.get(id(node))
    if isinstance(node, yaml.ScalarNode) and _UNUSABLE.search(node.value):
        raise yaml.MarkedYAMLError(
            problem=f"the text {node.value!r} has a character that no path or name can have",
            problem_mark=node.start_mark,
        )
    if found == 0:
        raise _LoopError
    if found is None:
        known[id(node)] = 0
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            children = [child for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        found = known[id(node)] = 1 + sum(_count(child, known) for child in children)
    return found


def _message(error: yaml.YAMLError, name: str) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    parts = [getattr(error, "context", None), getattr(error, "problem", None)]
    place = name if mark is None else f"{name}:{mark.line + 1}"
    tabs = "; indent with spaces" if "'\\t'" in str(error) else ""
    return f"{place}: {', '.join(filter(None, parts)) or error}{tabs}"


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
