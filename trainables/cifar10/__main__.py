"""`python -m trainables.cifar10 --learning-rate 0.1 ...`: trains once, and prints a line for each epoch.

Every setting of `Settings` is an option. The test set is opened for `--test` only. For a tuner that runs
scripts, the validation accuracy is what matches `validation: accuracy=([0-9.]+)`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch

from trainables.cifar10.train import CHECKPOINT, Metrics, Settings, fit, test_accuracy

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses, trains and prints; returns the exit status, 2 for settings or data that cannot be."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    threads, test, kept, resume = (
        options.pop(name) for name in ("threads", "test", "checkpoint_dir", "resume")
    )
    if threads is not None:
        torch.set_num_threads(threads)
    if resume and kept is None:
        parser.error("--resume needs --checkpoint-dir, the folder to go on from")
    folder = None if kept is None else Path(kept)
    if folder is not None and not options["checkpoint_every"]:
        options["checkpoint_every"] = 1
    resumes = resume and folder is not None and (folder / CHECKPOINT).exists()

    def report(metrics: Metrics, saved: str | None) -> None:
        epoch, accuracy, loss = metrics["epoch"], metrics["accuracy"], metrics["loss"]
        print(f"[epoch {epoch}] training: loss={metrics['train_loss']:.6f}")
        print(f"[epoch {epoch}] validation: accuracy={accuracy:.6f} loss={loss:.6f}", flush=True)
        if saved is not None and folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            partial = shutil.copy(Path(saved) / CHECKPOINT, folder / f"{CHECKPOINT}.partial")
            Path(partial).replace(folder / CHECKPOINT)

    try:
        settings = Settings(**options)
        model = fit(settings, report, resume_from=folder if resumes else None)
        if test:
            print(f"test: accuracy={test_accuracy(model, settings):.6f}")
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainables.cifar10", description=__doc__)
    types = {"int": int, "float": float, "str": str}
    for setting in fields(Settings):
        flags = dict.fromkeys((f"--{setting.name.replace('_', '-')}", f"--{setting.name}"))
        text = f"{setting.metadata['help']}; {setting.metadata['limits']}"
        if setting.type == "bool":
            parser.add_argument(
                *flags, action=argparse.BooleanOptionalAction, default=setting.default, help=text
            )
        else:
            kind = types[str(setting.type).split(" ")[0]]
            parser.add_argument(*flags, type=kind, default=setting.default, help=f"{text} (%(default)s)")
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU (PyTorch's own choice)")
    parser.add_argument(
        "--checkpoint-dir", help="keeps the last checkpoint here, of every epoch unless told otherwise"
    )
    parser.add_argument(
        "--resume", action="store_true", help="goes on from --checkpoint-dir if it has a checkpoint"
    )
    parser.add_argument("--test", action="store_true", help="ends with the accuracy on the test set")
    return parser


if __name__ == "__main__":
    sys.exit(main())
