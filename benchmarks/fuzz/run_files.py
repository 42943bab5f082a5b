"""Run files: sound ones altered and damaged, and YAML's own traps."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzz.odd import altered, damaged
from raytune_gp.runfile.plan import read_plan

__all__ = ["run_files"]

RUN_FILE: dict[str, Any] = {
    "trainable": "json:dumps",
    "metric": "score",
    "mode": "max",
    "num_samples": 3,
    "max_concurrent_trials": 2,
    "search_alg": {"name": "gp", "initial": 4},
    "scheduler": {"name": "median", "grace_period": 2},
    "storage_path": "results",
    "resources_per_trial": {"cpu": 1, "gpu": 0.5},
    "stop": {"score": 0.9},
    "time_budget_s": 60,
    "checkpoint": {"num_to_keep": 2},
    "points_to_evaluate": [{"x": 0.5, "kind": "a"}],
    "env": {"MARK": 7},
    "space": {
        "x": {"uniform": [0, 1]},
        "rate": {"loguniform": {"lower": 0.001, "upper": 1}},
        "kind": {"choice": ["a", "b"]},
        "depth": {"when": {"parent": "kind", "values": ["a"], "then": {"qrandint": [2, 8, 2]}}},
        "nested": {"n": {"grid_search": [1, 2]}, "fixed": "text"},
    },
}
PROGRAM = {"command": ["python", "train.py", 3], "metrics": {"score": "score=([0-9.e-]+)"}}
YAML = (
    "a: &a [x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n" + "c: &c [*b, *b, *b, *b, *b, *b, *b, *b]\n",
    "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join(9 * [f'*a{i - 1}'])}]\n" for i in range(1, 12)),
    "a0: &a0 {x: 1}\n"
    + "".join(f"a{i}: &a{i} {{<<: [{', '.join(9 * [f'*a{i - 1}'])}]}}\n" for i in range(1, 12)),
    "? [a, b]\n: c\n",
    "!!python/object/apply:os.system ['true']\n",
    "--- a\n--- b\n",
    "a: &a {b: *a}\n",
    "[" * 3000,
    "{a: " * 500,
    "seed: " + "9" * 5000 + "\n",
    "a: 0x\n",
    "a: 1e999\nb: -.inf\nc: .nan\n",
    "a: 2001-01-01\nb: !!binary aGVsbG8=\nc: !!set {x}\n",
    "<<: {a: 1}\n",
)


def run_files(rng: Random) -> None:
    """A valid file with its structure altered, its bytes damaged, or YAML's own traps in it."""
    import yaml

    document: Any = {**RUN_FILE, **(PROGRAM if rng.random() < 0.3 else {})}
    if "command" in document:
        del document["trainable"]
    for _ in range(rng.choice([1, 1, 2, 4])):
        document = altered(rng, document)
    try:
        text = yaml.safe_dump(document, sort_keys=False).encode("utf-8", "surrogatepass")
    except yaml.YAMLError:  # not what YAML can say
        text = repr(document).encode("utf-8", "surrogatepass")
    if rng.random() < 0.3:
        text = damaged(rng, text)
    if rng.random() < 0.1:
        text = rng.choice(YAML).encode() + rng.choice([b"", text])
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "run.yaml")
        path.write_bytes(text)
        plan = read_plan(path)
        plan.check()
        plan.arguments()
