"""Trials that are runs of Ray Train: two workers on two nodes, and no more at a time than fit in whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raytune_gp import tune
from raytune_gp.errors import SpecError, TrainableError
from raytune_gp.execution.placement import Demand, Node, whole_trials
from raytune_gp.trainable.run import run_attempt
from tests.cluster.scripts import said
from tests.patience import wait_until
from tests.trainable.support import Bench

CPU = {"cpu": 1}


@pytest.mark.parametrize(
    ("demand", "nodes", "groups", "count"),
    [
        (Demand(CPU), [{"CPU": 2.0}, {"CPU": 3.0}], 0, 5),
        (Demand(CPU, [CPU, CPU]), [{"CPU": 2.0}, {"CPU": 2.0}], 0, 1),  # drivers alone would fill all four
        (Demand({"cpu": 0}, [CPU, CPU]), [{"CPU": 2.0}, {"CPU": 2.0}], 0, 2),
        (Demand({"cpu": 0}, [CPU, CPU]), [{"CPU": 2.0}, {"CPU": 2.0}], 1, 1),
        (Demand({"cpu": 0}, [CPU, CPU]), [{"CPU": 1.0}], 1, 0),
        (Demand({"cpu": 0}, [CPU, CPU], "STRICT_PACK"), [{"CPU": 3.0}, {"CPU": 1.0}], 0, 1),
        (Demand({"cpu": 0}, [CPU, CPU], "STRICT_SPREAD"), [{"CPU": 4.0}, {"CPU": 1.0}], 0, 1),
        (Demand({"cpu": 0}, [CPU, CPU], "STRICT_SPREAD"), [{"CPU": 4.0}], 0, 0),
        (Demand({"cpu": 0}, [{"cpu": 0, "gpu": 1}] * 4), [{"CPU": 8.0, "GPU": 8.0}] * 2, 0, 4),
        (Demand(CPU, [{"cpu": 2}]), [{"CPU": 1.0}, {"CPU": 2.0}], 0, 0),  # Ray may put the driver on either
        (Demand({"cpu": 0}, [{"cpu": 0.1}] * 3), [{"CPU": 0.6}], 0, 2),
    ],
)
def test_trials_that_fit_in_whole(demand: Demand, nodes: Any, groups: int, count: int) -> None:
    assert whole_trials(demand, [Node(amounts) for amounts in nodes], groups) == count


TRAINING = """
import os, sys, tempfile
from pathlib import Path
import ray
from raytune_gp import tune
from tests.cluster.scripts import finish, start

storage = sys.argv[1]

def loop(config):
    import ray.train, ray.train.torch, torch
    import torch.distributed as dist
    torch.manual_seed(0)
    model = ray.train.torch.prepare_model(torch.nn.Linear(1, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"])
    step, checkpoint = 0, ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as directory:
            state = torch.load(directory + "/state.pt")
        step = state["step"]
        model.module.load_state_dict(state["model"])
    began, rank, nodes = step, ray.train.get_context().get_world_rank(), [None, None]
    dist.all_gather_object(nodes, ray.get_runtime_context().get_node_id())
    while True:  # until it is stopped
        x = torch.full((8, 1), 1.0 + rank)
        loss = ((model(x) - 3 * x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        with tempfile.TemporaryDirectory() as directory:
            torch.save({"step": step, "model": model.module.state_dict()}, directory + "/state.pt")
            kept = ray.train.Checkpoint.from_directory(directory) if rank == 0 else None
            metrics = {"loss": loss.item(), "rank": rank, "step": step, "began": began,
                       "backend": dist.get_backend(), "nodes": len(set(nodes))}
            ray.train.report(metrics, checkpoint=kept)
        died = Path(storage) / "died"
        if step == 2 and config["dies"] and rank == 0 and not died.exists():
            died.touch()
            raise ValueError("for once")

def build(config):
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer
    scaling = ScalingConfig(num_workers=2, placement_strategy="STRICT_SPREAD")
    return TorchTrainer(loop, train_loop_config=config, scaling_config=scaling)

cluster = start(2)
cluster.add_node(num_cpus=2)
cluster.wait_for_nodes()
# A trial is a driver of one CPU and two workers: of the four CPUs here, drivers alone could take all.
resources = tune.PlacementGroupFactory([{"CPU": 1}, {"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
results = tune.run(
    tune.with_resources(build, resources), config={"lr": 0.05, "dies": tune.grid_search([True, False])},
    metric="loss", mode="min", search_alg="random", stop={"step": 4}, max_failures=1, name="trains",
    verbose=0, storage_path=storage, journal=f"sqlite:///{storage}/journal.db",
    runtime_env={"env_vars": {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1"}},
)
finish(cluster, {
    "metrics": [r.metrics for r in results], "errors": [str(r.error) for r in results if r.error],
    "checkpoints": [sorted(os.listdir(r.checkpoint.path)) for r in results],
    "attempts": [t.attempt for t in results.state.trials.values()],
    "losses": [r.metrics_dataframe["loss"].tolist()[:4] for r in results],
    "slots": len(results.state.crew.incarnations),
    "train_files": [str(p) for p in Path(storage).rglob("train_*")],
})
"""


@pytest.mark.ray
@pytest.mark.timeout(500)
def test_two_workers_of_gloo_on_two_nodes_train_stop_and_go_on(tmp_path: Path) -> None:
    answer = said(TRAINING, str(tmp_path), limit_s=480)
    assert answer["errors"] == []
    dying, other = answer["metrics"]
    for metrics in (dying, other):
        assert (metrics["backend"], metrics["nodes"], metrics["rank"]) == ("gloo", 2, 0)
        assert metrics["step"] == metrics["training_iteration"] >= 4
    assert answer["attempts"] == [2, 1]
    assert (dying["began"], other["began"]) == (2, 0)
    assert answer["losses"][0] == pytest.approx(answer["losses"][1])  # as if nothing had happened
    assert answer["losses"][1][3] < answer["losses"][1][0]
    assert answer["checkpoints"] == [["state.pt"]] * 2
    assert answer["slots"] == 1
    assert answer["train_files"] == []


def fit_that_relays(reports: int) -> Any:
    """Waits for another process, as `fit()` does, which is ended where the trial is to end."""

    def fit(trainer: Any, session: Any) -> None:
        for step in range(reports):
            if not session.relay({"loss": float(step)}):
                raise RuntimeError("the controller died")

    return fit


class Trainer:
    """What a trainer looks like from here."""

    scaling_config = None

    def fit(self) -> None:
        raise AssertionError("only the worker fits")


def test_reports_of_another_process_are_those_of_the_trial(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    outcome = run_attempt(lambda config: Trainer(), {}, bench.session, fit=fit_that_relays(3))
    assert outcome.kind == "completed"
    assert [r["loss"] for r in bench.reports] == [0.0, 1.0, 2.0]


def test_one_that_is_stopped_is_no_failure(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.session.interrupt("stop")
    outcome = run_attempt(lambda config: Trainer(), {}, bench.session, fit=fit_that_relays(3))
    assert outcome.kind == "interrupted"
    assert len(bench.reports) == 1


def test_what_cannot_be_reported_is_the_failure_and_not_what_came_of_it(tmp_path: Path) -> None:
    def fit(trainer: Any, session: Any) -> None:
        assert not session.relay({"loss": object()})
        raise RuntimeError("the controller died")

    outcome = run_attempt(lambda config: Trainer(), {}, Bench(tmp_path).session, fit=fit)
    assert outcome.failure == "unreportable"
    assert "'loss' is object, which cannot be journalled" in str(outcome.error)


def test_inline_there_are_no_workers_of_its_own(tmp_path: Path) -> None:
    outcome = run_attempt(lambda config: Trainer(), {}, Bench(tmp_path).session)
    assert outcome.kind == "failed"
    assert 'Trainer starts workers of its own on Ray: it needs executor="ray"' in str(outcome.error)


def torch_trainer() -> Any:
    pytest.importorskip("ray.train.torch")
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    def loop(config: Any) -> None:
        pass

    scaling = ScalingConfig(num_workers=3, resources_per_worker={"CPU": 2})
    return TorchTrainer(loop, train_loop_config={"epochs": 3}, scaling_config=scaling)


def test_a_trainer_is_a_trainable_with_the_room_of_its_workers() -> None:
    from raytune_gp.execution.ray_train import as_trainable
    from raytune_gp.execution.resources import check_demand
    from raytune_gp.trainable.parameters import resources_of

    made: Any = as_trainable(torch_trainer())
    assert made.__name__ == "loop"
    demand = check_demand(resources_of(made, None))
    assert demand == Demand({"cpu": 0}, ({"cpu": 2},) * 3, "PACK")
    one, two = made({"train_loop_config": {"lr": 1}}), made({"train_loop_config": {"lr": 2}})
    assert one.train_loop_config == {"epochs": 3, "lr": 1}
    assert two.train_loop_config == {"epochs": 3, "lr": 2}
    with pytest.raises(SpecError, match=r"has 'lr'; its hyperparameters go below \"train_loop_config\""):
        made({"lr": 1})


def test_more_workers_than_the_run_counts_with_are_refused(tmp_path: Path) -> None:
    trainer = torch_trainer()
    from raytune_gp.execution.ray_train import fit

    bench = Bench(tmp_path)
    with pytest.raises(
        TrainableError, match="starts 3 workers, and this run counts with 0 a trial: say what"
    ):
        fit(trainer, bench.session, bench.storage, 0)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_the_group_of_one_that_was_killed_is_given_back() -> None:
    import ray

    from raytune_gp.execution.resources import groups_held

    class Maker:
        def make(self) -> str:
            group = ray.util.placement_group([{"CPU": 0.5}, {"CPU": 0.25}])
            assert group.wait(30)
            return str(group.id.hex())

    demand = Demand({"cpu": 0}, [{"cpu": 0.25}, {"cpu": 0.5}])
    maker: Any = ray.remote(num_cpus=0)(Maker).remote()
    group = ray.get(maker.make.remote())
    assert groups_held(demand) == 1
    assert groups_held(Demand({"cpu": 0}, [{"cpu": 0.5}])) == 0
    ray.kill(maker)
    assert wait_until(lambda: groups_held(demand) == 0)
    assert wait_until(lambda: ray.util.placement_group_table()[group]["state"] == "REMOVED")


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_one_that_no_cluster_can_hold_in_whole_is_refused(run_settings: Any) -> None:
    with pytest.raises(SpecError, match=r"for workers of its own \(PACK\), \(CPU 2\) \+ .* cannot hold it"):
        tune.run(torch_trainer(), metric="loss", mode="min", search_alg="random", **run_settings)


def test_the_callback_is_for_trials() -> None:
    pytest.importorskip("ray.train")
    from raytune_gp.integrations.ray_train import TuneReportCallback

    with pytest.raises(TrainableError, match="there is no trial in this process"):
        TuneReportCallback()


def test_inline_the_callback_has_nobody_to_tell(tmp_path: Path) -> None:
    pytest.importorskip("ray.train")
    from raytune_gp.integrations.ray_train import TuneReportCallback

    outcome = run_attempt(lambda config: TuneReportCallback(), {}, Bench(tmp_path).session)
    assert "for a trainable that tune.run has started" in str(outcome.error)


def test_trainers_are_those_of_ray_trains_second_version() -> None:
    pytest.importorskip("ray.train")
    from raytune_gp.execution.ray_train import as_trainable

    with pytest.raises(TrainableError, match="Trainer is of Ray Train's first version: set RAY_TRAIN_V2"):
        as_trainable(Trainer())
