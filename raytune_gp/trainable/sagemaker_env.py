"""What SageMaker's containers tell a training program by its environment, for a program that runs here.

Names and spellings are those of the SageMaker training toolkit, ENVIRONMENT_VARIABLES.md and mapping.py of
github.com/aws/sagemaker-training-toolkit; `SM_CHECKPOINT_DIR` stands for the path /opt/ml/checkpoints, which
has no variable there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raytune_gp.trainable.session import Context
from raytune_gp.trial import Config

__all__ = ["flat", "sagemaker_environment"]

HOST = "algo-1"
"""What SageMaker calls the only machine of a job."""


def sagemaker_environment(
    config: Config,
    arguments: Sequence[str],
    context: Context,
    directories: Mapping[str, Path],
    channels: Mapping[str, Path],
) -> dict[str, str]:
    """The variables for a trial.

    Args:
        config: its hyperparameters, which become SM_HPS and one SM_HP_ each.
        arguments: the command-line arguments that they become.
        context: where the trial runs, and what it reserves.
        directories: by the names of SageMaker's variables without SM_, in lower case, such as model_dir.
        channels: the directory of each channel of input data.
    """
    resources = context.get_trial_resources()
    facts = {
        "hps": config,
        "user_args": list(arguments),
        "hosts": [HOST],
        "current_host": HOST,
        "num_gpus": math.ceil(resources.get("gpu", 0)),
        "num_cpus": max(1, math.ceil(resources.get("cpu", 0))),
        "log_level": 20,
        "channels": sorted(channels),
        **{name: str(path) for name, path in directories.items()},
    }
    job = f"{context.get_experiment_name()}-{context.get_trial_id()}"
    known = {name: value for name, value in facts.items() if name not in ("hps", "channels", "user_args")}
    inputs = {name: str(path) for name, path in channels.items()}
    about = {**known, "hyperparameters": config, "channel_input_dirs": inputs, "job_name": job}
    named = {
        **facts,
        "training_env": about,
        **{f"channel_{name}": path for name, path in inputs.items()},
        **{f"hp_{name}": value for name, value in flat(config).items()},
    }
    spelled = {f"SM_{name.upper()}": _spelled(value) for name, value in named.items()}
    return {**spelled, "TRAINING_JOB_NAME": job}


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Hyperparameters by name, those of nested maps with dots between."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found.update(flat(value, f"{prefix}{name}."))
        else:
            found[f"{prefix}{name}"] = value
    return found


def _spelled(value: Any) -> str:
    """Text as it is, nothing for None, and JSON for all else."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
