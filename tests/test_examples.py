"""Every example runs by itself, in a fresh process as a reader would run it, and says what it promises."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import HANGS_S

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
TRIALS = {"clustering.py": "40", "one_job_five_ways.py": "1"}

PROMISES = {
    "ask_tell.py": r"(?s)after batch 1: .*after batch 4: 0\.0\d+ off the ideal with .*'grind': 'medium'",
    "clustering.py": r"variance_ratio nan.*(?s:.*)variance ratio 70\.9\d .*\n.*adjusted Rand\): 0\.[89]\d",
    "gp_walkthrough.py": r"3 trials, best loss 0\.765, (?s:.*)8 trials, best loss 0\.096, next at 0\.74",
    "one_job_five_ways.py": (
        r"function +1 +0 +(0\.\d+) .*\nclass +1 +0 +\1 .*\nprogram +1 +0 +\1 .*\n"
        r"TorchTrainer, 2 workers +1 +0 +0\.\d+ .*\nprogram of MXNet's +1 +0 +0\.\d+ "
    ),
    "pytorch_function.py": r"best accuracy 0\.\d+ with .*\nloaded its network of \d+ weights",
    "resume.py": r"8 trials, .*\n20 trials, .*\nthe first 8 are what they were: True",
    "script_with_regex.py": r"best accuracy 0\.\d+ with .*'epochs': 5.*\nwhat it printed is in .*log\.txt",
    "sklearn_boosting.py": r"best log loss 0\.\d+ with .*'growth': '(leaves', 'max_leaf|depth', 'max_depth)",
    "train_sagemaker.py": r"\[epoch 1\] validation-accuracy=0\.\d+; (?s:.*)\[epoch 5\] .*accuracy=0\.[89]",
    "train_digits.py": r"epoch 1: validation accuracy=0\.\d+\n(?s:.*)epoch 5: validation accuracy=0\.8",
}
ON_RAY = {"one_job_five_ways.py", "pytorch_function.py", "script_with_regex.py", "sklearn_boosting.py"}


def run(example: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run `example` with a small budget, its results and journal below `home`."""
    environment = {
        **os.environ,
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "RAY_ADDRESS": "local",
        "TRIALS": TRIALS.get(example, "5"),
    }
    return subprocess.run(
        [sys.executable, str(EXAMPLES / example)],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=2 * HANGS_S,
    )


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(PROMISES)


@pytest.mark.timeout(2 * HANGS_S + 60)
@pytest.mark.parametrize(
    "example", [pytest.param(e, marks=pytest.mark.ray if e in ON_RAY else ()) for e in sorted(PROMISES)]
)
def test_it_keeps_its_promise(example: str, tmp_path: Path) -> None:
    done = run(example, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(PROMISES[example], done.stdout), done.stdout
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    for page in tmp_path.glob("*.html"):
        assert not re.search(r"<(script|link)[^>]+(src|href)=", page.read_text()), "a page needs the network"
