"""The events' JSON: what is written is what is read, strictly, whatever users report."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from raytune_gp import events as ev
from raytune_gp.codec import SCHEMA_VERSION, event_from_json, event_to_json
from raytune_gp.errors import SchemaVersionError, SpecError
from raytune_gp.spec import ExperimentSpec
from raytune_gp.trial import Metric
from tests.support import make_spec

SAMPLES: dict[str, Any] = {
    "float": 1.5,
    "float | None": 2.5,
    "int": 3,
    "str": "text",
    "bool": True,
    "str | None": None,
    "Sequence[float] | None": [0.1, 1e300],
    "Sequence[Mapping[str, Any]]": [{"config": {"x": {"y": [1, None]}}, "provenance": {}}],
    "Mapping[str, Any]": {"nested": {"a": [1, 2.5, "ü\ud800", None, True]}},
    "Mapping[str, str]": {"numpy": "2.4"},
    "Mapping[str, Any] | None": {"path": "p"},
    "Config | None": {"x": 1},
}


def sample(kind: type[ev.Event]) -> ev.Event:
    return kind(**{f.name: SAMPLES[str(f.type)] for f in dataclasses.fields(kind)})


def round_trip(event: ev.Event) -> ev.Event:
    return event_from_json(type(event).__name__, event_to_json(event))


@pytest.mark.parametrize("kind", list(ev.Event.registry.values()), ids=lambda kind: kind.__name__)
def test_every_event_survives_json(kind: type[ev.Event]) -> None:
    event = sample(kind)
    assert round_trip(event) == event
    assert json.loads(event_to_json(event)).keys() == {f.name for f in dataclasses.fields(kind)}


def test_every_event_is_registered_exported_and_applied() -> None:
    defined = {name for name, v in vars(ev).items() if isinstance(v, type) and issubclass(v, ev.Event)} - {
        "Event"
    }
    assert defined == set(ev.Event.registry)
    assert defined < set(ev.__all__)
    from raytune_gp.transitions import TRANSITIONS

    assert {kind.__name__ for kind in TRANSITIONS} == defined


def report(metrics: dict[str, Any]) -> ev.Reported:
    return ev.Reported(0.1 + 0.2, "w0/1", 1, "00000", 1, 1, metrics, 1e-17)


def test_floats_survive_bit_for_bit() -> None:
    metrics = {"a": 0.1 + 0.2, "b": 5e-324, "c": -0.0, "d": 2**53 + 1, "e": 1.7976931348623157e308}
    assert repr(round_trip(report(metrics))) == repr(report(metrics))


def test_what_is_not_finite_is_strict_json_and_comes_back() -> None:
    event = report({"a": math.nan, "b": [math.inf, {"c": -math.inf}], "d": 1.0})
    text = event_to_json(event)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert repr(round_trip(event)) == repr(event)


@pytest.mark.parametrize("odd", [{"$float": "of a user"}, {"$float": 0.5}, {"$float": None}, {"$float": [1]}])
def test_a_user_may_name_a_key_as_the_tag(odd: dict[str, Any]) -> None:
    assert round_trip(report({"a": odd})) == report({"a": odd})
    assert repr(round_trip(report({"a": odd, "b": math.nan}))) == repr(report({"a": odd, "b": math.nan}))


def test_a_request_of_the_first_schema_is_read_without_what_it_says_is_pending() -> None:
    body = '{"at":1.5,"request":2,"count":3,"start":4,"completed":5,"pending":["00001","1/0"]}'
    assert event_from_json("SuggestionsRequested", body, 1) == ev.SuggestionsRequested(1.5, 2, 3, 4, 5)
    assert "pending" not in event_to_json(ev.SuggestionsRequested(1.5, 2, 3, 4, 5))


@pytest.mark.parametrize(("kind", "version"), [("Reported", SCHEMA_VERSION + 1), ("Invented", 1)])
def test_a_newer_schema_is_refused_with_the_way_out(kind: str, version: int) -> None:
    with pytest.raises(SchemaVersionError, match="install the version that wrote this journal"):
        event_from_json(kind, "{}", version)


def test_a_spec_survives_json() -> None:
    spec = make_spec(
        metrics=(Metric("a", "min"), Metric("b")),
        checkpoint_metric=Metric("c", "min"),
        stop={"a": 0.1},
        resources={"cpu": 2, "gpu": 0.5},
        time_budget_s=3.5,
    )
    again = ExperimentSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert again.changed({"num_samples": 99}).num_samples == 99
    assert again.changed({}) == spec


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": ""}, "name is ''"),
        ({"metrics": ()}, "metric is"),
        ({"metrics": (Metric("a", "best"),)}, "mode is 'best'"),
        ({"num_samples": 0}, "num_samples is 0; it must be at least 1, or -1 for no bound"),
        ({"scope": "first"}, "scope is 'first'; it must be one of last, avg"),
        ({"max_concurrent_trials": 0}, "max_concurrent_trials is 0"),
        ({"time_budget_s": math.inf}, "time_budget_s is inf; it must be a positive number of seconds"),
        ({"grace_s": -1}, "grace_period_s is -1"),
        ({"max_failures": -2}, "max_failures is -2"),
        ({"keep_checkpoints": 0}, "num_to_keep is 0"),
    ],
)
def test_a_spec_that_cannot_be_met_says_why(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message.replace("(", r"\(")):
        make_spec(**settings)
