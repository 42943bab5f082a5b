"""What the benchmarks share: where they run, percentiles, and results as JSON."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from raytune_gp.events import Event
from raytune_gp.execution.environment import cpu, software_versions
from raytune_gp.storage.journal import SQLJournal

__all__ = ["command_line", "events_of", "machine", "percentile", "write"]


def command_line(description: str | None) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes; `description` is the module's docstring."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the result into this JSON file too")
    return parser


def machine() -> dict[str, Any]:
    """The hardware and software that a result was measured on."""
    return {"cpu": cpu(), "cores": os.cpu_count(), "versions": software_versions()}


def events_of(url: str, run: str) -> list[Event]:
    """The events of `run` in the journal at `url`, as they are now."""
    journal = SQLJournal(url)
    try:
        return [event for _, event in journal.read(run)]
    finally:
        journal.close()


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of `values` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def write(result: Mapping[str, Any], out: Path | None) -> None:
    """Print `result` with the machine it was measured on, and keep it at `out`."""
    text = json.dumps({**result, "machine": machine()}, indent=2)
    print(text)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text + "\n")
