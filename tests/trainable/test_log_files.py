"""Logs of programs that ran elsewhere give the lines that their programs printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from raytune_gp.errors import SpecError
from raytune_gp.trainable.log_files import log_lines
from raytune_gp.trainable.scraper import Scraper

PRINTED = ["Epoch 1/2", "loss=0.5 acc=9.1e-05", "", "10%|#|", "loss=-0.3 acc=1E+4"]

PREFIXES = {
    "none": "",
    "CloudWatch, aws logs tail": "2024-05-01T12:00:00.123000+00:00 train-job-1/algo-1-1714560000 ",
    "CloudWatch, one stream": "2024-05-01T12:00:00.123Z ",
    "CloudWatch, milliseconds": "1714560000123 ",
    "local mode": "algo-1-f2x3a  | ",
    "local mode, old": "tmp2ab_algo-1-f2x3a_1  | ",
    "local mode, in colour": "\x1b[36malgo-1-f2x3a |\x1b[0m ",
}


@pytest.mark.parametrize("prefix", PREFIXES.values(), ids=PREFIXES)
def test_a_prefix_on_each_line_is_left_out(tmp_path: Path, prefix: str) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"{prefix}{line}\n" for line in PRINTED))
    assert list(log_lines(log)) == PRINTED
    scraper = Scraper({"loss": "^loss={float}", "acc": "acc={float}$"})
    reports = [report for line in log_lines(log) for report in scraper.feed(line)]
    assert reports == [{"loss": 0.5, "acc": 9.1e-05}, {"loss": -0.3, "acc": 1e4}]


def test_a_message_of_several_lines_has_one_prefix(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("2024-05-01T12:00:00Z one\n  of two\n2024-05-01T12:00:01Z loss=1\n")
    assert list(log_lines(log)) == ["one", "  of two", "loss=1"]


def test_what_docker_compose_says_beside_the_containers_stays(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("Attaching to algo-1-f2x3a\nalgo-1-f2x3a | loss=1\nalgo-1-f2x3a exited with code 0\n")
    assert list(log_lines(log)) == ["Attaching to algo-1-f2x3a", "loss=1", "algo-1-f2x3a exited with code 0"]


@pytest.mark.parametrize(
    "line",
    ["2024-05-01 12:00:00,123 INFO loss=1", "1714560000 loss=1", "12:00:00 loss=1", "a | loss=1"],
)
def test_a_programs_own_times_stay(tmp_path: Path, line: str) -> None:
    log = tmp_path / "log"
    log.write_text(f"{line}\n" * 3)
    assert list(log_lines(log)) == [line] * 3
    log.write_text(f"no time\nno time\n2024-05-01T12:00:00Z {line}\n")
    assert list(log_lines(log))[-1] == f"2024-05-01T12:00:00Z {line}"


def test_lines_end_where_those_of_a_program_do(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"10%\r20%\r\nloss\x0b=\xff1\xe2\x80\xa8\nend")
    assert list(log_lines(log)) == ["10%", "20%", "loss\x0b=\ufffd1\u2028", "end"]


def test_an_empty_log_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    assert list(log_lines(tmp_path / "log")) == []


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"the log '.*/log' cannot be read: .*No such file"):
        list(log_lines(tmp_path / "log"))
