"""Which file system holds a path, by the kernel's table of mounts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from raytune_gp.storage import mounts
from raytune_gp.storage.mounts import network_file_system
from raytune_gp.storage.urls import unsafe_place

TABLE = r"""rootfs / rootfs rw 0 0
/dev/sda1 / ext4 rw 0 0
filer:/home /home nfs4 rw,hard 0 0
/dev/sdb1 /home/local xfs rw 0 0
filer:/my\040data /mnt/my\040data nfs rw 0 0
lustre@tcp:/s /scratch lustre rw 0 0
/dev/sdc1 /scratch ext4 rw 0 0
user@host: /mnt/ssh fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/journal.db", None),
        ("/home/me/.raytune_gp/journal.db", "nfs4"),
        ("/homes/me/journal.db", None),
        ("/home/local/journal.db", None),
        ("/mnt/my data/journal.db", "nfs"),
        ("/scratch/journal.db", None),
        ("/mnt/ssh/journal.db", "fuse.sshfs"),
    ],
)
def test_the_innermost_and_latest_mount_counts(path: str, kind: str | None) -> None:
    assert network_file_system(Path(path), TABLE) == kind


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no table of mounts")
def test_the_table_of_this_machine_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert network_file_system(Path("/proc/self/journal.db")) is None
    monkeypatch.setattr(mounts, "NETWORK", {"proc"})
    assert network_file_system(Path("/proc/self/journal.db")) == "proc"
    warned = unsafe_place("sqlite:////proc/journal.db")
    assert warned is not None
    assert "network file system (proc)" in warned
    assert "journal='sqlite:////local/disk/journal.db'" in warned


@pytest.mark.parametrize("url", ["sqlite://", "postgresql://host/db", "nonsense"])
def test_what_is_no_file_is_no_matter(url: str) -> None:
    assert unsafe_place(url) is None


def test_no_table_is_no_matter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "none")
    assert network_file_system(tmp_path) is None
