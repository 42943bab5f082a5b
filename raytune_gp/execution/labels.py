"""Labels of nodes, and what a trial asks of them, in the syntax of Ray's `label_selector`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from raytune_gp.errors import SpecError

__all__ = ["check_selector", "meets"]

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"(?:(?=[^/]{{1,253}}/){_NAME}(?:\.{_NAME})*/)?{_NAME}")
_CONDITION = re.compile(rf"!?(?:{_NAME}|in\({_NAME}(?:, ?{_NAME})*\))")


def check_selector(selector: Any) -> dict[str, str]:
    """`selector` as a dictionary of labels and conditions.

    A condition is `"value"`, `"!value"`, `"in(one, other)"` or `"!in(one, other)"`. Raises SpecError for what
    Ray would refuse, most of it not before a worker is made.
    """
    if not isinstance(selector, Mapping) or not selector:
        raise SpecError(
            f"resources_per_trial asks for label_selector = {selector!r}; it must be a dictionary of labels "
            f'and values, such as {{"ray.io/market-type": "!spot"}}'
        )
    for key, condition in selector.items():
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise SpecError(
                f"resources_per_trial asks for label_selector {key!r}; a label's name is of at most 63 "
                f'letters, digits, "-", "_" and ".", with a letter or digit at both ends, and perhaps a '
                f'domain and "/" before it, such as "ray.io/market-type"'
            )
        if not isinstance(condition, str) or not _CONDITION.fullmatch(condition):
            raise SpecError(
                f"resources_per_trial asks for label_selector {key} = {condition!r}; it must be one of "
                f'"value", "!value", "in(one, other)" and "!in(one, other)", a string (in YAML in quotes), '
                f'where values are of at most 63 letters, digits, "-", "_" and ".", with a letter or digit '
                f"at both ends"
            )
    return dict(selector)


def meets(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Whether a node with `labels` meets every condition; a label that it lacks is none of the values."""
    return all(_meets(labels.get(key), condition) for key, condition in selector.items())


def _meets(value: str | None, condition: str) -> bool:
    wanted = condition.removeprefix("!")
    listed = wanted[3:-1].split(",") if wanted.startswith("in(") else [wanted]
    return (value in [one.strip() for one in listed]) != condition.startswith("!")
