"""CIFAR-10, or scikit-learn's digits where there is none, as uint8 arrays that a node decodes once.

    data_dir, else CIFAR10_DIR ─┐
    neither: download           ├─► decode, under a lock ─► ~/.cache/raytune_gp/<key>/*.npy ─► np.load(mmap)
    neither, no network: digits ┘

An archive is the official `cifar-10-batches-py/` or `cifar-10-python.tar.gz`, or a tar of JPEG files
`{train,test}/<class>/NNNN.jpg`. The data: Alex Krizhevsky, "Learning Multiple Layers of Features from Tiny
Images", 2009, https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import pickle
import shutil
import sys
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np
from filelock import FileLock

__all__ = ["CLASSES", "Dataset", "open_dataset", "split"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
BATCHES = {**{f"data_batch_{i}": "train" for i in range(1, 6)}, "test_batch": "test"}
# Sought in this order in a folder: the official pixels first, then the larger JPEG pack.
NAMES = ("cifar-10-batches-py", "cifar-10-python.tar.gz", "cifar10-jpeg.tar.gz", "cifar10-mini-jpeg.tar.gz")
SPLIT_SEED = 20090408  # One split for every trial, whatever its seed: only so do their accuracies compare.
RETRY_SECONDS = (
    3600.0  # A node without network asks again after an hour, so that not every trial waits for it.
)

Arrays = dict[
    str, np.ndarray
]  # {train,test}_images: n x height x width x 3 uint8; {train,test}_labels: n int64


@dataclass(frozen=True)
class Dataset:
    """A decoded dataset on this node's disk; `name` is `cifar10` or `digits`."""

    name: str
    folder: Path

    @property
    def flips(self) -> bool:
        """Whether an image's mirror image belongs to the same class; a digit's does not."""
        return self.name == "cifar10"

    def train(self) -> tuple[np.ndarray, np.ndarray]:
        """The images (n x height x width x 3, uint8, mapped from disk) and labels (n) to train on."""
        return self._open("train")

    def test(self) -> tuple[np.ndarray, np.ndarray]:
        """The same of the test part: for a final evaluation, never for tuning."""
        return self._open("test")

    def _open(self, part: str) -> tuple[np.ndarray, np.ndarray]:
        # "c": pages are shared between trials; torch would warn of an array that is mapped read-only.
        images, labels = (
            np.load(self.folder / f"{part}_{what}.npy", mmap_mode="c") for what in ("images", "labels")
        )
        return images, labels


def open_dataset(data: str = "auto", data_dir: str | None = None) -> Dataset:
    """Finds, downloads or falls back, and decodes unless this node has done so before.

    Args:
        data: `cifar10`, `digits`, or `auto`: CIFAR-10, and digits if there is neither a copy nor a network.
        data_dir: an archive or the folder that holds one; None takes the environment variable CIFAR10_DIR,
            and without it the cache or the official site.

    Raises:
        FileNotFoundError: no archive at the place named, or `cifar10` asked for and none to be had.
        ValueError: an archive that is not CIFAR-10, or a download with the wrong checksum.
    """
    if data == "digits":
        return _decoded("digits", "digits", _digits)
    place = data_dir or os.environ.get("CIFAR10_DIR")
    archive = find_archive(Path(place).expanduser()) if place else _download()
    if archive is not None:
        return _decoded("cifar10", f"cifar10-{_fingerprint(archive)}", lambda: _read_archive(archive))
    if data == "cifar10":
        raise FileNotFoundError(f"no CIFAR-10: {URL} is out of reach; set data_dir or CIFAR10_DIR to a copy")
    _say("no copy of CIFAR-10, no network: scikit-learn's 8 x 8 DIGITS instead (set data_dir or CIFAR10_DIR)")
    return _decoded("digits", "digits", _digits)


def split(
    labels: np.ndarray, validation_fraction: float, train_size: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Divides a training part into what is trained on and what is validated on, class by class.

    Args:
        labels: n, integers.
        validation_fraction: of every class, rounded to whole images, at least one.
        train_size: how many to train on, the same number of each class (to within one); None takes all that
            remain. A smaller one is a subset of a larger one, and the validation part does not depend on it.

    Returns:
        Sorted positions to train on, and sorted positions to validate on; they are disjoint.

    Raises:
        ValueError: fewer images remain of some class than `train_size` wants.
    """
    classes = np.unique(labels)
    rng = np.random.default_rng(SPLIT_SEED)
    train, validation = [], []
    for i, c in enumerate(classes):
        members = rng.permutation(np.flatnonzero(labels == c))
        held_out = max(1, round(validation_fraction * len(members)))
        rest = members[held_out:]
        wanted = len(rest) if train_size is None else (train_size + len(classes) - 1 - i) // len(classes)
        if wanted > len(rest):
            raise ValueError(
                f"train_size={train_size} wants {wanted} images of class {c}, of which {len(rest)} remain"
            )
        validation.append(members[:held_out])
        train.append(rest[:wanted])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(validation))


def cache_folder() -> Path:
    """`raytune_gp` under XDG_CACHE_HOME or ~/.cache, made if it is missing."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "raytune_gp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def find_archive(place: Path) -> Path:
    """The archive at `place`, or in that folder; see `NAMES`. Raises FileNotFoundError."""
    if place.is_file() or (place / "test_batch").is_file():
        return place
    for name in NAMES:
        if (place / name).exists():
            return place / name
    raise FileNotFoundError(
        f"no CIFAR-10 at {place}: expected an archive, or a folder with one of {', '.join(NAMES)}"
    )


# ---- decoding, once a node


def _decoded(name: str, key: str, read: Callable[[], Arrays]) -> Dataset:
    """The dataset in the cache under `key`; the first process to ask fills it, the others wait."""
    folder = cache_folder() / key
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
            partial.mkdir()
            for array_name, array in read().items():
                np.save(partial / f"{array_name}.npy", array)
            partial.rename(folder)
    return Dataset(name, folder)


def _fingerprint(archive: Path) -> str:
    """Twelve hex digits that change with the archive's place, size or time of change, without reading it."""
    files = [archive / name for name in BATCHES] if archive.is_dir() else [archive]
    stats = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()]
    return hashlib.sha256(repr(stats).encode()).hexdigest()[:12]


def _read_archive(archive: Path) -> Arrays:
    members = sorted(_members(archive), key=lambda member: member[0].parts)
    missing = BATCHES.keys() - {path.name for path, _ in members}
    if 0 < len(missing) < len(BATCHES):
        raise ValueError(f"{archive} lacks {', '.join(sorted(missing))}; fetch it again")
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"train": [], "test": []}
    for path, file in members:
        match path.parts:
            case (*_, name) if name in BATCHES:
                parts[BATCHES[name]].append(_read_batch(file))
            case (*_, part, label, name) if part in parts and label in CLASSES and name.endswith(".jpg"):
                parts[part].append(_read_jpeg(label, file))
    if not all(parts.values()):
        raise ValueError(
            f"{archive} is no CIFAR-10: {'train' if not parts['train'] else 'test'} images are missing"
        )
    arrays: Arrays = {}
    for name, pieces in parts.items():
        arrays[f"{name}_images"] = np.concatenate([images for images, _ in pieces])
        arrays[f"{name}_labels"] = np.concatenate([labels for _, labels in pieces])
    return arrays


def _members(archive: Path) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """Every file of a tar or a folder, by its path in there and as a stream of its bytes."""
    if archive.is_dir():
        for path in archive.iterdir():
            yield PurePosixPath(path.name), io.BytesIO(path.read_bytes())
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None:
                yield PurePosixPath(member.name), io.BytesIO(content.read())


def _read_batch(file: IO[bytes]) -> tuple[np.ndarray, np.ndarray]:
    batch = _BatchUnpickler(file, encoding="latin1").load()
    images = batch["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.asarray(batch["labels"], dtype=np.int64)


def _read_jpeg(label: str, file: IO[bytes]) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image

    image = np.asarray(Image.open(file).convert("RGB"))
    return image[None], np.array([CLASSES.index(label)])


class _BatchUnpickler(pickle.Unpickler):
    """Reads the official batches, and builds nothing but arrays: a pickle may name any code to run."""

    def find_class(self, module: str, name: str) -> Any:
        """The global `module.name`, if an array's pickle may name it."""
        if name == "_reconstruct" and module.endswith("core.multiarray"):
            place = "numpy._core" if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else "numpy.core"
            return super().find_class(f"{place}.multiarray", name)
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}:
            return super().find_class(module, name)
        raise ValueError(f"a CIFAR-10 batch holds arrays and lists only, this one names {module}.{name}")


def _digits() -> Arrays:
    """1,797 digits (UCI optdigits, grey levels 0 to 16); every fifth of each class is the test part."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    images, labels = np.repeat(grey[..., None], 3, axis=-1), bunch.target.astype(np.int64)
    test = np.zeros(len(labels), dtype=bool)
    for c in range(10):
        test[np.flatnonzero(labels == c)[::5]] = True
    return {
        "train_images": images[~test],
        "train_labels": labels[~test],
        "test_images": images[test],
        "test_labels": labels[test],
    }


# ---- download, once a node


def _download() -> Path | None:
    """The official archive in the cache, fetched if need be; None without a network."""
    archive = cache_folder() / "cifar-10-python.tar.gz"
    failed = archive.with_name("download-failed")
    with FileLock(f"{archive}.lock"):
        if archive.exists():
            return archive
        if failed.exists() and time.time() - failed.stat().st_mtime < RETRY_SECONDS:
            return None
        partial = archive.with_suffix(".partial")
        try:
            digest = _fetch(partial)
        except (OSError, http.client.HTTPException) as error:
            _say(f"{URL} is out of reach ({error})")
            failed.touch()
            return None
        if digest != MD5:
            partial.unlink()
            raise ValueError(
                f"{URL} came with MD5 {digest} instead of {MD5}; fetch it yourself and set CIFAR10_DIR"
            )
        partial.rename(archive)
        return archive


def _fetch(target: Path) -> str:
    """Writes what is at `URL` to `target` and returns its MD5."""
    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(URL, timeout=10) as response, target.open("wb") as file:
        _say(f"downloading {URL} (170 MB), once for this machine")
        while chunk := response.read(1 << 20):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _say(message: str) -> None:
    print(f"trainables: {message}", file=sys.stderr, flush=True)
