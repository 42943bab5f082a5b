"""The project's story: 120 random trainings of a ResNet on CIFAR-10, and a quarter as many that are guided.

    CIFAR10_DIR=… python -m benchmarks.story --random 2 --guided 4 --out benchmarks/results/story.jsonl

Learning rate, momentum and weight decay are tuned by `tune.run` on real Ray workers, for the accuracy on
2,500 validation images: `random`, 120 trials; `gp`, 30 trials; `gp-median`, 30 trials that the median rule
may end early. `random-kept` is what the random runs would have come to, had only the ten best of each gone
on after their first epoch. The network is one that a CPU core trains in seconds: 8 channels, 4,000 images,
6 epochs.

Of many noisy accuracies the best is too good by luck: so each run's best config is trained again, with other
seeds, and judged by the 10,000 test images. The cost is counted in epochs. A run is a line of `--out`; runs
that stand there are not made again. The summary goes to the file of the same name that ends in `.json`.
"""

from __future__ import annotations

from pathlib import Path

import ray

from benchmarks.measure import command_line, write
from benchmarks.race.records import append, read
from benchmarks.story.picture import picture
from benchmarks.story.runs import kept, record, tuned
from benchmarks.story.summary import summary


def main() -> None:
    """Make the runs that are not on record, and sum all up."""
    parser = command_line(__doc__)
    parser.add_argument("--random", type=int, default=2, help="runs of 120 random trials")
    parser.add_argument("--guided", type=int, default=4, help="runs of each guided way")
    arguments = parser.parse_args()
    out: Path = arguments.out or parser.error("--out FILE.jsonl is needed: the runs are kept there")
    done = {(run["way"], run["seed"]) for run in read(out)}
    wanted = [(way, seed) for seed in range(arguments.guided) for way in ("gp", "gp-median")]
    wanted += [("random", seed) for seed in range(arguments.random)]
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    for way, seed in wanted:
        if (way, seed) not in done:
            trials = tuned(way, seed)
            append(out, record(way, seed, trials))
            if way == "random":
                append(out, record("random-kept", seed, kept(trials)))
            print(way, seed, max(trial["curve"][-1] for trial in trials), flush=True)
    ray.shutdown()
    command = (
        f"python -m benchmarks.story --random {arguments.random} --guided {arguments.guided} --out {out}"
    )
    runs = list(read(out))
    write({"command": command, **summary(runs)}, out.with_suffix(".json"))
    out.with_suffix(".svg").write_text(picture(runs))


if __name__ == "__main__":
    main()
