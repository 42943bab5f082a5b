"""A run file as data: its fields, and how a file is read into them or refused."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from raytune_gp.errors import SpecError
from raytune_gp.naming import near
from raytune_gp.runfile.document import Document, parse
from raytune_gp.runfile.domains import SpellingError, read_space
from raytune_gp.settings import check_name
from raytune_gp.trainable.patterns import metric_definitions
from raytune_gp.trainable.program import is_variable
from raytune_gp.trainable.script import METRIC_TIMEOUT_S

__all__ = ["CheckpointSettings", "RunFile", "changed", "load"]


def _trials(value: int) -> int:
    if value == 0 or value < -1:
        raise ValueError("at least 1, or -1 for no bound")
    return value


def _name(value: str) -> str:
    try:
        return check_name(value)
    except SpecError as error:
        raise ValueError(str(error).partition("it must be ")[2]) from None


def _variable(value: str) -> str:
    if not is_variable(value):
        raise ValueError("the name of an environment variable, without =, such as MARK")
    return value


Text = Annotated[str, Field(min_length=1)]
Named = str | dict[str, Any]
"""A searcher or scheduler: its name, or a map with its `name` and options."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CheckpointSettings(_Strict):
    """Which checkpoints of each trial stay, and when class trainables are saved: `tune.CheckpointConfig`."""

    num_to_keep: Annotated[int, Field(ge=1)] | None = None
    checkpoint_score_attribute: Text | None = None
    checkpoint_score_order: Literal["max", "min"] = "max"
    checkpoint_frequency: Annotated[int, Field(ge=0)] = 0
    checkpoint_at_end: bool = False


class PythonEnvSettings(_Strict):
    """Packages of the trainable's own, as `tune.PythonEnv`."""

    requirements: Annotated[list[Text], Field(min_length=1)]
    python: Text | None = None
    """A version in quotes, or a path relative to the run file's directory."""
    pip_options: list[Text] = []


class RunFile(_Strict):
    """The fields of a run file. Those without a comment mean what they mean in `tune.run`."""

    trainable: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")] | None = None
    """`module:function`, found in `working_dir` or installed; or else:"""
    command: Annotated[list[str | int | float], Field(min_length=1)] | None = None
    """a program and its fixed arguments, to which each hyperparameter is added as `--name value`;"""
    metrics: (
        Annotated[dict[str, str], Field(min_length=1)]
        | Annotated[list[dict[str, str]], Field(min_length=1)]
        | None
    ) = None
    """and for each metric a regular expression that finds its number in what the program prints; or a list of
    SageMaker's definitions, each with `Name` and `Regex`."""
    data: Annotated[str, Field(min_length=1)] | dict[str, Text] | None = None
    """Directories of input data by channel, which a program finds in `SM_CHANNEL_…`; or one alone."""
    metric_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = METRIC_TIMEOUT_S
    """How long a program may take to its first metric, as long as no trial of the run has reported any."""
    space: dict[str, Any]
    metric: Text
    mode: Literal["max", "min"]
    num_samples: Annotated[int, AfterValidator(_trials)] | None = None
    max_concurrent_trials: Annotated[int, Field(ge=1)] | None = None
    resources_per_trial: dict[str, Any] | None = None
    search_alg: Named | None = None
    scheduler: Named | None = None
    points_to_evaluate: list[dict[str, Any]] = []
    stop: dict[str, float] = {}
    time_budget_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    scope: Literal["last", "all", "avg", "last-5-avg", "last-10-avg"] = "last"
    seed: Annotated[int, Field(ge=0)] = 0
    name: Annotated[str, AfterValidator(_name)] | None = None
    storage_path: Text | None = None
    """Relative to the run file's directory, as `journal` and `working_dir` are."""
    journal: Text | None = None
    """A database URL, or the path of an SQLite file."""
    checkpoint: CheckpointSettings = CheckpointSettings()
    max_failures: Annotated[int, Field(ge=-1)] = 0
    fail_fast: bool = False
    trial_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    report_timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["auto"] | None = "auto"
    grace_period_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0
    detached: bool = False
    runtime_env: dict[str, Any] | None = None
    """Ray's; its `working_dir` and `py_modules` are relative to the run file's directory too, and are sent to
    every node."""
    env: dict[Annotated[str, AfterValidator(_variable)], str | int | float] = {}
    """Environment variables of the trainable."""
    python_env: PythonEnvSettings | None = None
    working_dir: Text = "."
    """Where the trainable runs and is looked for; a directory that every node can see. Not beside a
    `working_dir` in `runtime_env`, which takes its place."""

    @model_validator(mode="after")
    def _one_trainable(self) -> RunFile:
        if (self.trainable is None) == (self.command is None):
            raise ValueError("give either trainable (module:function) or command, and not both")
        if "working_dir" in (self.runtime_env or {}) and "working_dir" in self.model_fields_set:
            raise ValueError("working_dir is given twice: leave out the one outside of runtime_env")
        if self.command is not None and not self.metrics:
            raise ValueError("a command needs metrics: for each metric a regular expression with one group")
        if self.trainable is not None and self.metrics:
            raise ValueError("metrics are for a command; a trainable function reports its metrics itself")
        if self.trainable is not None and self.data:
            raise ValueError("data is for a command; a trainable function knows its data itself")
        if self.metrics:
            names = list(self.definitions)
            if self.metric not in names:
                raise ValueError(f"metric is {self.metric!r}, and metrics has only {', '.join(names)}")
        return self

    @property
    def definitions(self) -> dict[str, str]:
        """Metric name to pattern, of a command. Raises SpecError for what defines none."""
        return metric_definitions(self.metrics or {})


def load(path: Path) -> tuple[RunFile, dict[str, Any], str]:
    """The run file at `path`, its search space with domains read, and its SHA-256 in hexadecimal.

    Raises:
        SpecError: it cannot be read, or does not hold a run file; each problem has its line, its key, the
            value and what is allowed.
    """
    try:
        content = path.read_bytes()
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SpecError(f"the run file {str(path)!r} cannot be read: {reason}") from None
    document = parse(text, path.name)
    try:
        fields = RunFile.model_validate(document.values)
    except ValidationError as error:
        raise SpecError(_problems(document, error)) from None
    try:
        space = read_space(fields.space, ("space",))
    except SpellingError as error:
        line = document.line(error.path)
        raise SpecError(f"{document.name}:{line}: {_dotted(error.path)} {error}") from None
    return fields, space, hashlib.sha256(content).hexdigest()


def changed(file: RunFile, changes: Mapping[str, Any]) -> RunFile:
    """`file` with other values for some fields. Raises SpecError for one that cannot be."""
    try:
        return RunFile.model_validate({**file.model_dump(exclude_unset=True), **changes})
    except ValidationError as error:
        problem = error.errors()[0]
        allowed = _allowed(problem["type"], problem["msg"], str(problem.get("ctx", {}).get("error", "")))
        name = _dotted(problem["loc"])
        raise SpecError(f"{name} is {problem['input']!r}; it must be {allowed}") from None


def _problems(document: Document, error: ValidationError) -> str:
    """What pydantic found, a line on each key, in the order of the file."""
    faults: dict[tuple[Any, ...], str] = {}
    allowed: dict[tuple[Any, ...], list[str]] = {}
    for problem in error.errors():
        path = _within(document.values, problem["loc"])
        reason = str(problem.get("ctx", {}).get("error", ""))
        match problem["type"]:
            case "extra_forbidden":
                near = _near(str(path[-1]), path[:-1])
                faults[path] = f"{_dotted(path)!r} is no key of a run file{near}"
            case "missing":
                faults[problem["loc"]] = f"{_dotted(problem['loc'])!r} is missing"
            case "value_error" if not path:
                faults[path] = reason
            case _:
                allowed.setdefault(path, []).append(_allowed(problem["type"], problem["msg"], reason))
                wanted = " or ".join(dict.fromkeys(allowed[path]))
                faults[path] = f"{_dotted(path)} is {problem['input']!r}; it must be {wanted}"
    found = sorted((document.line(path), fault) for path, fault in faults.items())
    lines = [f"{document.name}:{line}: {fault}" for line, fault in found]
    return "\n".join(lines if len(lines) == 1 else [f"{len(lines)} things are wrong:", *lines])


def _allowed(kind: str, message: str, reason: str) -> str:
    """What may stand there, in the words of a run file."""
    known = {
        "string_pattern_mismatch": "module:function, such as train:train",
        "list_type": "a list, such as [a, b]",
        "dict_type": "a map",
        "string_type": "text",
        "int_type": "a whole number",
        "float_type": "a number",
        "bool_type": "true or false",
        "value_error": reason,
    }
    return known.get(kind) or message.replace("Input should be ", "").lower()


def _within(values: Any, loc: tuple[Any, ...]) -> tuple[Any, ...]:
    """The part of pydantic's location that is in the file: unions add the names of their members."""
    path: list[Any] = []
    for part in loc:
        inside = part in values if isinstance(values, Mapping) else _has_item(values, part)
        if not inside:
            break
        values = values[part]
        path.append(part)
    return tuple(path)


def _has_item(values: Any, part: Any) -> bool:
    return isinstance(values, list) and isinstance(part, int) and part < len(values)


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def _near(key: str, parents: tuple[Any, ...]) -> str:
    """The end of a message on an unknown key: what it may have meant, or what there is."""
    inner: dict[str, type[BaseModel]] = {"checkpoint": CheckpointSettings, "python_env": PythonEnvSettings}
    known = list(inner.get(".".join(map(str, parents)), RunFile).model_fields)
    return near(key, known) or f"; there are {', '.join(known)}"
