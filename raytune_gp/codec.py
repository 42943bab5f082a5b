"""Events as JSON, as the journal keeps them, and back, from every version that was ever written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from raytune_gp.errors import SchemaVersionError
from raytune_gp.events import Event, SuggestionsReady
from raytune_gp.kinds import check_fields

__all__ = ["DAMAGE", "SCHEMA_VERSION", "event_from_json", "event_to_json"]

SCHEMA_VERSION = 5
"""Raised whenever an older reader could misread what is written.

4: `AttemptEnded` said nothing of what the attempt had used, `WorkerRequested` nothing of its share of a GPU.
3: `TermStarted` said nothing of the machine, and a spec neither the definition of its space nor the guesses.
2: no failure had a kind, no retry a time, and no node was drained.
1: `SuggestionsRequested` named what was pending, which follows from the events before it.
"""


def event_to_json(event: Event) -> str:
    """The event's body as strict JSON, without its type. NaN and infinities become `{"$float": …}`."""
    body = {f.name: getattr(event, f.name) for f in fields(event)}
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_tag_nonfinite(body), allow_nan=False, separators=(",", ":"))


def event_from_json(kind: str, body: str, version: int = SCHEMA_VERSION) -> Event:
    """The event of type `kind` that `event_to_json` wrote under schema `version`.

    Raises SchemaVersionError for a newer schema or an unknown type, and one of DAMAGE for what was never
    written.
    """
    if type(version) is not int or version < 1:
        raise ValueError(f"its schema version is {version!r}")
    if version > SCHEMA_VERSION or kind not in Event.registry:
        raise SchemaVersionError(
            f"an event of type {kind!r} has schema version {version}, and this raytune-gp reads versions up "
            f"to {SCHEMA_VERSION}: install the version that wrote this journal, or a newer one"
        )
    data = json.loads(body, object_hook=_untag) if '"$float"' in body else _decode(body)
    if version < 2 and kind == "SuggestionsRequested":
        del data["pending"]
    if not isinstance(data, dict):
        raise ValueError(f"its body is {data!r:.100}")
    event = Event.registry[kind](**data)
    check_fields(event)
    if isinstance(event, SuggestionsReady) and not all(map(_is_suggestion, event.suggestions)):
        raise ValueError("a suggestion has no config or no provenance")
    return event


def _is_suggestion(form: Any) -> bool:
    return isinstance(form, dict) and all(isinstance(form.get(k), dict) for k in ("config", "provenance"))


_decode = json.JSONDecoder().decode
"""`json.loads` without its checks of arguments: a restart decodes millions of events."""

DAMAGE = (ValueError, TypeError, LookupError, AttributeError, RecursionError, AssertionError, ArithmeticError)
"""What comes of JSON, or of events, that no version of this software wrote."""

_NONFINITE = ("nan", "inf", "-inf")


def _tag_nonfinite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, Mapping):
        return {k: _tag_nonfinite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_tag_nonfinite(v) for v in value]
    return value


def _untag(value: dict[str, Any]) -> Any:
    return float(value["$float"]) if value.get("$float") in _NONFINITE and len(value) == 1 else value
