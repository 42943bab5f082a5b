"""The documents keep their word: code runs, links lead somewhere, figures are those that were measured."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.patience import HANGS_S

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
WITH_CODE = [d for d in DOCUMENTS if "```python" in d.read_text()]
CLUSTERS = [ROOT / "cluster.yaml", *sorted((ROOT / "deploy").rglob("*.*"))]
ON_RAY = "README.md"
NOTHING_YET = "not measured yet"


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    "document",
    [pytest.param(d, marks=pytest.mark.ray if d.name == ON_RAY else (), id=name(d)) for d in WITH_CODE],
)
def test_its_python_runs_from_top_to_bottom(document: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)
    script = tmp_path / "pasted.py"
    script.write_text("\n".join(blocks))
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "RAY_ADDRESS": "local",
    }
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANGS_S,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stderr


def headings_of(text: str) -> set[str]:
    """The names by which links lead to a document's headings."""
    found = re.findall(r"^#+ (.*)", text, re.M)
    return {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in found}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_its_links_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    headings = headings_of(text)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("http") and target != "benchmarks/results":
            file, _, heading = target.partition("#")
            assert (document.parent / file).exists(), target
            assert not heading or heading in headings_of((document.parent / file).read_text()), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_its_commands_exist(document: Path) -> None:
    text = document.read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"(?:^|`)make (\w+)", text, re.M)) <= targets
    for module in re.findall(r"python -m (benchmarks\.\w+)", text):
        place = ROOT / module.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), module
    for file in re.findall(r"raytune-gp run (\S+\.yaml)", text):
        assert file == "FILE.yaml" or (ROOT / file).exists(), file


def test_the_shell_knows_the_commands_that_the_guide_names() -> None:
    from raytune_gp.cli.app import app

    known = {command.name for command in app.registered_commands}
    assert {
        "demo",
        "run",
        "list",
        "status",
        "show",
        "logs",
        "report",
        "stop",
        "attach",
        "clean",
        "submit",
    } <= known


# --- figures ---


def measured_rows() -> list[tuple[str, str, str]]:
    """What, result and source of each row in README's table of figures."""
    section = (ROOT / "README.md").read_text().partition("## Measured")[2].partition("\n## ")[0]
    rows = [line.strip("| \n").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [(what, result, source) for what, result, source, _ in rows[1:]]


def look_up(found: Any, path: str) -> float:
    """The number at a dotted path; in a list a step names an item by one of the item's own values."""
    for step in path.split("."):
        if isinstance(found, dict) and step not in found:
            found = next(v for v in found.values() if isinstance(v, list))
        if isinstance(found, list):
            found = next(item for item in found if step in item.values())
        else:
            found = found[step]
    return float(found)


def figures(result: str) -> list[tuple[float, float]]:
    """The numbers of a result cell, each with how far rounding may have moved it."""
    numbers = []
    for whole, decimals, exponent, percent in re.findall(
        r"(-?\d[\d,]*)(\.\d+)?(?:e([+-]?\d+))?( ?%)?", result, re.I
    ):
        scale = 10.0 ** int(exponent or 0) / (100.0 if percent else 1.0)
        step = 10.0 ** -(len(decimals) - 1 if decimals else 0)
        value = float(whole.replace(",", "") + decimals)
        numbers.append((value * scale, 0.5001 * step * scale))
    return numbers


def wrong(result: str, source: str, results: Path) -> list[str]:
    """What is wrong with a result cell, given the JSON files in `results`."""
    file, *paths = re.findall(r"`([^`]+)`", source)
    if not (results / file).exists():
        return [] if result == NOTHING_YET else [f"{result!r} has no {file}"]
    content = json.loads((results / file).read_text())
    truth = [look_up(content, path) for path in paths]
    shown = figures(result)
    if len(shown) != len(truth):
        return [
            f"{result!r} should show {', '.join(f'{p} = {v:.6g}' for p, v in zip(paths, truth, strict=True))}"
        ]
    return [
        f"{result!r}: {path} is {value:.6g}"
        for (number, slack), path, value in zip(shown, paths, truth, strict=True)
        if abs(number - value) > slack
    ]


@pytest.mark.parametrize("row", measured_rows(), ids=lambda row: row[0][:40])
def test_a_figure_is_the_one_that_was_measured(row: tuple[str, str, str]) -> None:
    _, result, source = row
    assert wrong(result, source, RESULTS) == []


def test_a_wrong_figure_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"x": {"y": 1234.56, "z": 0.0123}, "n": 0}))
    (tmp_path / "b.json").write_text(json.dumps({"problems": [{"problem": "branin", "regret": 2.5e-5}]}))
    source = "`a.json`: `x.y`, `x.z`, `n`"
    for good in ("1,235, 1.2 %, 0", "1234.6 and 0.012 (0 lost)"):
        assert wrong(good, source, tmp_path) == []
    for bad in ("1,236, 1.2 %, 0", "1,235, 1.3 %, 0", "1,235, 1.2 %, 1", "1,235", NOTHING_YET):
        assert wrong(bad, source, tmp_path) != []
    assert wrong("2.5e-5", "`b.json`: `branin.regret`", tmp_path) == []
    assert wrong("2.6e-5", "`b.json`: `branin.regret`", tmp_path) != []
    assert wrong("7", "`none.json`: `x`", tmp_path) != []
    assert wrong(NOTHING_YET, "`none.json`: `x`", tmp_path) == []


def test_every_fault_has_its_row_and_the_tests_it_names() -> None:
    matrix = (ROOT / "docs" / "faults.md").read_text().partition("## The fault matrix")[2]
    rows = re.findall(r"^\| (\d+) \|.*\| (.*) \|$", matrix, re.M)
    assert [int(number) for number, _ in rows] == list(range(1, 22))
    named = [place for _, tests in rows for place in re.findall(r"`(tests/\S+)`", tests)]
    assert len(named) > 20
    for place in named:
        file, _, test = place.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(), place


# --- files that others read ---


def test_the_license_is_apache_2_to_the_letter() -> None:
    digest = hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


@pytest.mark.parametrize("path", [*DOCUMENTS, *(ROOT / "examples").iterdir(), *CLUSTERS], ids=name)
def test_nothing_of_the_writer_is_left(path: Path) -> None:
    text = path.read_text() if path.is_file() else ""
    assert not re.search(r"/(work|root|tmp|home/(?!ubuntu|ray))\b|TODO|FIXME", text)
