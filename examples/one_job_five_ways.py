"""One job as a function, a class, a program, a trainer of Ray Train and a program of MXNet's: one table.

    python examples/one_job_five_ways.py       (TRIALS=1 for a quick look)

The job is to tell scikit-learn's digits apart; give it `data: "cifar10"` and larger models for the real
thing. The first three train a small ResNet by the loop of trainables/cifar10, so that their accuracies are
equal; the fourth trains it on two workers, each of which takes half of every batch; the fifth trains another
network, with accuracies of its own, in a Python environment of its own, made before its first trial.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from raytune_gp import tune
from trainables.cifar10.train import Settings, fit, train

TRIALS = int(os.environ.get("TRIALS", "3"))
EPOCHS = 2
SPACE = {
    "learning_rate": tune.loguniform(0.01, 1.0),
    "momentum": tune.uniform(0.5, 0.95),
    "model": "resnet8_v2",
    "width": 8,
    "batch_size": 64,
    "epochs": EPOCHS,
    "schedule": "none",
    "data": "digits",
    "train_size": 1000,
    "device": "cpu",
    "checkpoint_every": 1,
}


class Epochs(tune.Trainable):
    """One epoch a step; `fit` goes on from the checkpoint of the epoch before."""

    def setup(self, config: dict[str, Any]) -> None:
        """An empty folder for the state."""
        self.state = tempfile.mkdtemp()

    def step(self) -> dict[str, Any]:
        """Train for the next epoch."""
        last: dict[str, Any] = {}

        def keep(metrics: dict[str, float], saved: str | None) -> None:
            last.update(metrics)
            shutil.copytree(str(saved), self.state, dirs_exist_ok=True)

        settings = Settings.from_config({**self.config, "epochs": self.iteration + 1})
        fit(settings, keep, resume_from=self.state if self.iteration else None)
        return {**last, "done": self.iteration + 1 == self.config["epochs"]}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """What `fit` has saved."""
        shutil.copytree(self.state, checkpoint_dir, dirs_exist_ok=True)

    def load_checkpoint(self, checkpoint: str) -> None:
        """The same back."""
        shutil.copytree(checkpoint, self.state, dirs_exist_ok=True)

    def cleanup(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.state, ignore_errors=True)


PROGRAM = tune.Script(
    ["python", "-m", "trainables.cifar10"],
    metrics={"accuracy": r"validation: accuracy=([0-9.eE+-]+)"},
)


def train_worker(config: dict[str, Any]) -> None:
    """What each of two workers does: half of each batch, gradients averaged by PyTorch's DDP."""
    import ray.train
    import ray.train.torch
    import torch
    from torch.nn.functional import cross_entropy

    from trainables.cifar10.resnet import ResNetV2
    from trainables.data import open_dataset, split

    rank, world = ray.train.get_context().get_world_rank(), ray.train.get_context().get_world_size()
    images, labels = (torch.as_tensor(array[:]) for array in open_dataset(config["data"]).train())
    images = images.permute(0, 3, 1, 2).float() / 255
    train_part, validation_part = split(labels.numpy(), 0.1, config["train_size"])
    torch.manual_seed(0)
    model = ray.train.torch.prepare_model(ResNetV2(config["model"], config["width"]))
    optimizer = torch.optim.SGD(model.parameters(), config["learning_rate"], config["momentum"])
    for epoch in range(config["epochs"]):
        order = torch.as_tensor(train_part)[torch.randperm(len(train_part))]  # the same in every worker
        model.train()
        for batch in order.split(config["batch_size"])[:-1]:
            own = batch[rank::world]
            optimizer.zero_grad()
            cross_entropy(model(images[own]), labels[own]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = model(images[validation_part]).argmax(1) == labels[validation_part]
        with tempfile.TemporaryDirectory() as folder:
            torch.save(model.state_dict(), Path(folder) / "model.pt")
            kept = ray.train.Checkpoint.from_directory(folder) if rank == 0 else None
            ray.train.report({"accuracy": right.float().mean().item(), "epoch": epoch + 1}, checkpoint=kept)


def make_trainer() -> Any:
    """Two workers of one CPU each; with GPUs it is `use_gpu=True`."""
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    return TorchTrainer(train_worker, scaling_config=ScalingConfig(num_workers=2))


MXNET = tune.Script(
    ["python", "-m", "trainables.cifar10_mxnet", "--log_interval", "0", "--model", "small"],
    metrics={"accuracy": r"validation: accuracy=([0-9.]+)"},
    python_env=tune.PythonEnv(["mxnet==1.9.1", "numpy==1.23.5", "pillow", "filelock"], python="3.11"),
)
MXNET_SPACE = {
    name: SPACE[name] for name in ("learning_rate", "momentum", "batch_size", "epochs", "data", "train_size")
}


if __name__ == "__main__":
    ways: dict[str, tuple[Any, dict[str, Any]]] = {
        "function": (train, SPACE),
        "class": (Epochs, SPACE),
        "program": (PROGRAM, SPACE),
        "TorchTrainer, 2 workers": (make_trainer(), {"train_loop_config": SPACE}),
        "program of MXNet's": (MXNET, MXNET_SPACE),
    }
    rows = []
    for way, (trainable, space) in ways.items():
        results = tune.run(
            trainable,
            config=space,
            metric="accuracy",
            mode="max",
            num_samples=TRIALS,
            search_alg="random",
            max_concurrent_trials=2,
            seed=1,
            verbose=0,
        )
        frame = results.get_dataframe()
        seconds = frame["time_total_s"].mean()
        rows.append((way, len(results), results.num_errors, frame["accuracy"].max(), seconds))
    print(f"{'way':<24} trials  failed  best accuracy  seconds a trial")
    for way, trials, failed, accuracy, seconds in rows:
        print(f"{way:<24} {trials:>6}  {failed:>6}  {accuracy:>13.4f}  {seconds:>15.1f}")
