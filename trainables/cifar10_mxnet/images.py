"""Images for the network: CIFAR-10 from the same archives as `trainables.cifar10`, or digits that are drawn.

NumPy alone, old or new: MXNet 1.9.1 runs with NumPy 1.23.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from trainables.data import open_dataset, split

__all__ = ["Images", "batches", "draw_digits", "open_images"]

PACKING_SEED = 20180708
"""The demo reads a record file in the order in which it was packed, the same in every epoch. So here the
order is drawn once, the same for every trial."""

GLYPHS = (
    ("111", "101", "101", "101", "111"),
    ("010", "110", "010", "010", "111"),
    ("111", "001", "111", "100", "111"),
    ("111", "001", "011", "001", "111"),
    ("101", "101", "111", "001", "001"),
    ("111", "100", "111", "001", "111"),
    ("111", "100", "111", "101", "111"),
    ("111", "001", "010", "010", "010"),
    ("111", "101", "111", "101", "111"),
    ("111", "101", "111", "001", "111"),
)
"""The ten digits, five rows of three dots each."""


@dataclass(frozen=True)
class Images:
    """Images (n x height x width x 3, uint8) with labels (n), to train on and to validate on.

    `mirrors` says whether a mirror image belongs to the same class.
    """

    name: str
    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    mirrors: bool


def open_images(data: str, data_dir: str | None, validate_on: str, train_size: int | None) -> Images:
    """The images to use.

    Args:
        data: `cifar10`, `digits` (drawn), or `auto`: digits where there is neither a copy nor a network.
        data_dir: an archive or the folder that holds one; see `trainables.data`.
        validate_on: `test`, as the demo does, or `held_out`: a tenth of the training images.
        train_size: how many to train on, each class alike; None for all.

    Raises:
        FileNotFoundError, ValueError: as `open_dataset`, and for more images than there are.
    """
    try:
        if data == "digits":
            raise FileNotFoundError
        dataset = open_dataset("cifar10", data_dir)
        name, train, test = "cifar10", dataset.train(), dataset.test()
    except FileNotFoundError:
        if data == "cifar10" or data_dir:
            raise
        if data == "auto":
            print("no copy of CIFAR-10, no network: drawn DIGITS instead", file=sys.stderr, flush=True)
        name, train, test = "digits", draw_digits(2000, 0), draw_digits(500, 1)
    images, labels = train
    chosen, held_out = split(labels, 0.1, train_size)
    if validate_on == "test":
        validation = test
        chosen = np.arange(len(labels)) if train_size is None else chosen
    else:
        validation = images[held_out], labels[held_out]
    packed = np.random.default_rng(PACKING_SEED).permutation(chosen)
    return Images(name, (images[packed], labels[packed]), validation, mirrors=name == "cifar10")


def batches(
    images: np.ndarray,
    labels: np.ndarray,
    size: int,
    mirror: np.random.Generator | None = None,
    *,
    fill: bool,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches in order: pixels as float32 from 0 to 255, `size` x 3 x height x width, and labels, `size`.

    Each image is mirrored with probability one half where there is a `mirror`. With `fill` the last batch is
    filled up from the first images, as MXNet's ImageRecordIter does it; without, it is smaller.
    """
    for start in range(0, len(labels), size):
        positions = np.arange(start, start + size if fill else min(start + size, len(labels))) % len(labels)
        batch = images[positions].transpose(0, 3, 1, 2).astype(np.float32)
        if mirror is not None:
            chosen = mirror.random(len(batch)) < 0.5
            batch[chosen] = batch[chosen, :, :, ::-1]
        yield batch, labels[positions].astype(np.float32)


def draw_digits(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits of random size, place, colours and noise: count x 32 x 32 x 3 uint8, and their labels."""
    rng = np.random.default_rng(seed)
    glyphs = [np.array([[dot == "1" for dot in row] for row in rows]) for rows in GLYPHS]
    labels = np.arange(count) % len(glyphs)
    images = np.empty((count, 32, 32, 3), np.uint8)
    for image, label in zip(images, labels, strict=True):
        scale = int(rng.integers(3, 6))
        glyph = np.kron(glyphs[label], np.ones((scale, scale), bool))
        down, right = (int(rng.integers(0, 33 - side)) for side in glyph.shape)
        canvas = np.tile(rng.uniform(0, 110, 3), (32, 32, 1))
        canvas[down : down + len(glyph), right : right + glyph.shape[1]][glyph] = rng.uniform(130, 255, 3)
        image[:] = np.clip(canvas + rng.normal(0, 20, canvas.shape), 0, 255)
    return images, labels.astype(np.int64)
