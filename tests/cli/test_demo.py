"""The parts of the demo that need no Ray; the demo itself is `make demo`."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from raytune_gp.demo import SPACE, TEXTBOOK, Demo
from raytune_gp.errors import SpecError
from raytune_gp.space import SearchSpace
from trainables.cifar10 import Settings


def demo(data_dir: str | None = None) -> Demo:
    return Demo(12, 2, 0, data_dir, False, None, None, "sqlite:///unused.db")


@pytest.fixture(autouse=True)
def no_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_the_textbooks_setting_is_in_the_space() -> None:
    assert SearchSpace(SPACE).contains(TEXTBOOK)


def test_without_cifar_it_says_that_it_takes_digits() -> None:
    screen = Console(file=io.StringIO(), width=200)
    dataset, settings = demo()._data(screen)
    assert dataset.name == "digits"
    assert "No CIFAR-10" in screen.file.getvalue()  # type: ignore[attr-defined]
    assert "DIGITS" in screen.file.getvalue()  # type: ignore[attr-defined]
    assert Settings.from_config({**settings, **TEXTBOOK}).data == "digits"


def test_a_place_without_cifar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no CIFAR-10 at .* the demo takes digits"):
        demo(str(tmp_path))._data(Console(file=io.StringIO()))
