"""A CIFAR-10 of 120 images in each layout, and a cache and a node without network for every test."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainables import data

TRAIN, TEST = 100, 20  # images, ten classes alike


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the user's cache or the network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CIFAR10_DIR", raising=False)
    monkeypatch.setattr(data, "URL", (tmp_path / "no-such-site").as_uri())


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Bit-for-bit comparisons want one, and small networks run fastest so."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def pixels(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Smooth random images, so that JPEG keeps them, and labels 0..9 in turn."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2), np.arange(count) % 10


def _as_python_2(batch: dict[str, object]) -> bytes:
    """Pickles with the keys as Python 2 wrote them: byte strings (U), where Python 3 writes text (X)."""
    pickled = pickle.dumps(batch, protocol=2)
    for key in (name.encode() for name in batch):
        modern, ancient = (b"X" + struct.pack("<I", len(key)) + key, b"U" + struct.pack("B", len(key)) + key)
        assert modern in pickled
        pickled = pickled.replace(modern, ancient)
    return pickled


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """The folder `cifar-10-batches-py`, pickled with Python 2's protocol as the official one."""
    folder = tmp_path / "official" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    images, labels = pixels(TRAIN, seed=0)
    parts = [(f"data_batch_{i + 1}", images[i::5], labels[i::5]) for i in range(5)]
    for name, part_images, part_labels in [*parts, ("test_batch", *pixels(TEST, seed=1))]:
        flat = part_images.transpose(0, 3, 1, 2).reshape(-1, 3072)
        (folder / name).write_bytes(_as_python_2({"data": flat, "labels": part_labels.tolist()}))
    (folder / "batches.meta").write_bytes(_as_python_2({"label_names": list(data.CLASSES)}))
    return folder


@pytest.fixture
def official_tar(official: Path, tmp_path: Path) -> Path:
    path = tmp_path / "tarred" / "cifar-10-python.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        tar.add(official, "cifar-10-batches-py")
    return path


@pytest.fixture
def jpeg_tar(tmp_path: Path) -> Path:
    path = tmp_path / "jpeg" / "cifar10-mini-jpeg.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        for part, count, seed in (("train", TRAIN, 0), ("test", TEST, 1)):
            for i, (image, label) in enumerate(zip(*pixels(count, seed), strict=True)):
                content = io.BytesIO()
                Image.fromarray(image).save(content, "JPEG", quality=95, subsampling=0)
                member = tarfile.TarInfo(f"{part}/{data.CLASSES[label]}/{i:04d}.jpg")
                member.size = len(content.getvalue())
                content.seek(0)
                tar.addfile(member, content)
    return path
