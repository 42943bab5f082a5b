"""Whether a path lies on a network file system, where SQLite's locks and shared memory cannot be trusted."""

from __future__ import annotations

from pathlib import Path

__all__ = ["network_file_system"]

MOUNTS = Path("/proc/self/mounts")
"""The kernel's table of mounts (Linux): device, place, type, options."""

NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "lustre", "gpfs", "beegfs", "pvfs2"),
        *("panfs", "wekafs", "vastnfs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.gcsfuse"),
        *("fuse.mountpoint-s3", "fuse.juicefs", "fuse.ceph", "fuse.rclone"),
    }
)


def network_file_system(path: Path, mounts: str | None = None) -> str | None:
    """The type of the network file system that holds `path` (nfs4, lustre, …), or None.

    `mounts` stands in for the kernel's table. Where there is none (not Linux), the answer is None.
    """
    if mounts is None:
        try:
            mounts = MOUNTS.read_text(errors="replace")
        except OSError:
            return None
    found, depth = "", -1
    where = path.resolve()
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split(" ")
        mounted = Path(_unescaped(place))
        if len(mounted.parts) >= depth and where.is_relative_to(mounted):  # the last one at a place is on top
            found, depth = kind, len(mounted.parts)
    return found if found in NETWORK else None


def _unescaped(place: str) -> str:
    """The table writes white space and backslashes as octal numbers."""
    for character in " \t\n\\":
        place = place.replace(f"\\{ord(character):03o}", character)
    return place
