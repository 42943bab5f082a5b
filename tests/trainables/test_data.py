"""Archives in every layout, the cache, the ways to find data, and the split."""

from __future__ import annotations

import os
import pickle
import shutil
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest

from tests.trainables.conftest import TEST, TRAIN, pixels
from trainables import data
from trainables.data import open_dataset, split


def by_content(images: np.ndarray, labels: np.ndarray) -> list[tuple[int, bytes]]:
    return sorted((int(label), image.tobytes()) for image, label in zip(images, labels, strict=True))


@pytest.mark.parametrize("layout", ["official", "official_tar"])
def test_official_layout_is_read_to_the_pixel(layout: str, request: pytest.FixtureRequest) -> None:
    dataset = open_dataset("cifar10", str(request.getfixturevalue(layout)))
    assert by_content(*dataset.train()) == by_content(*pixels(TRAIN, seed=0))
    assert by_content(*dataset.test()) == by_content(*pixels(TEST, seed=1))
    assert dataset.train()[0].dtype == np.uint8


def test_jpeg_pack_is_read_with_its_labels(jpeg_tar: Path) -> None:
    images, labels = open_dataset("cifar10", str(jpeg_tar)).train()
    expected, expected_labels = pixels(TRAIN, seed=0)
    order = np.lexsort((np.arange(TRAIN), expected_labels))  # the archive's: by class, then by number
    assert labels.tolist() == expected_labels[order].tolist()
    assert np.abs(images.astype(int) - expected[order]).mean() < 3  # JPEG is lossy
    assert open_dataset("cifar10", str(jpeg_tar)).test()[0].shape == (TEST, 32, 32, 3)


@pytest.mark.parametrize("layout", ["official", "official_tar", "jpeg_tar"])
def test_a_folder_that_holds_an_archive_serves(layout: str, request: pytest.FixtureRequest) -> None:
    archive: Path = request.getfixturevalue(layout)
    assert data.find_archive(archive.parent) == archive
    assert data.find_archive(archive) == archive


def test_environment_variable_names_the_place(jpeg_tar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIFAR10_DIR", str(jpeg_tar.parent))
    assert open_dataset().name == "cifar10"


def test_a_place_without_data_is_an_error_that_says_what_was_sought(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no CIFAR-10 at .*nowhere.*cifar10-mini-jpeg\.tar\.gz"):
        open_dataset("auto", str(tmp_path / "nowhere"))


def test_an_archive_of_something_else_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no images")
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(tmp_path / "notes.txt", "notes.txt")
    with pytest.raises(ValueError, match=r"other\.tar is no CIFAR-10: train images are missing"):
        open_dataset("cifar10", str(tmp_path / "other.tar"))


def test_an_incomplete_archive_is_an_error(official: Path) -> None:
    (official / "data_batch_4").unlink()
    with pytest.raises(ValueError, match="lacks data_batch_4; fetch it again"):
        open_dataset("cifar10", str(official))


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("never-made-by-a-pickle",)


def test_a_batch_that_names_code_is_refused(official: Path) -> None:
    (official / "data_batch_3").write_bytes(pickle.dumps(Malicious(), protocol=2))
    with pytest.raises(ValueError, match=r"this one names posix\.mkdir"):
        open_dataset("cifar10", str(official))


def test_decoded_once_and_again_when_the_archive_changes(
    jpeg_tar: Path, official_tar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    read = data._read_archive

    def counted(archive: Path) -> data.Arrays:
        reads.append(archive)
        return read(archive)

    monkeypatch.setattr(data, "_read_archive", counted)
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: open_dataset("cifar10", str(jpeg_tar)).folder, range(4)))
    assert len(set(folders)) == 1
    assert reads == [jpeg_tar]
    shutil.copy(official_tar, jpeg_tar)
    assert open_dataset("cifar10", str(jpeg_tar)).folder != folders[0]
    assert len(reads) == 2


def test_a_decoder_that_was_killed_leaves_nothing_half_done(
    jpeg_tar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            open_dataset("cifar10", str(jpeg_tar))
    assert len(open_dataset("cifar10", str(jpeg_tar)).train()[1]) == TRAIN


def test_download_is_checked_and_kept(official_tar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "URL", official_tar.as_uri())
    with pytest.raises(ValueError, match=r"came with MD5 .* instead of c58f30108f718f92721af3b95e74349a"):
        open_dataset()
    assert not list(data.cache_folder().glob("*.partial"))
    monkeypatch.setattr(data, "MD5", md5(official_tar.read_bytes()).hexdigest())
    assert len(open_dataset().train()[1]) == TRAIN
    official_tar.unlink()
    assert open_dataset("cifar10").name == "cifar10"


def test_without_copy_and_network_digits_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    dataset = open_dataset()
    assert dataset.name == "digits"
    assert not dataset.flips
    assert "DIGITS" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="set data_dir or CIFAR10_DIR"):
        open_dataset("cifar10")


def test_a_network_that_was_out_of_reach_is_asked_again_after_a_while(
    official_tar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_dataset().name == "digits"
    monkeypatch.setattr(data, "URL", official_tar.as_uri())
    monkeypatch.setattr(data, "MD5", md5(official_tar.read_bytes()).hexdigest())
    assert open_dataset().name == "digits"
    long_ago = time.time() - 2 * data.RETRY_SECONDS
    os.utime(data.cache_folder() / "download-failed", (long_ago, long_ago))
    assert open_dataset().name == "cifar10"


def test_digits_are_all_there_and_the_test_part_is_apart() -> None:
    dataset = open_dataset("digits")
    (images, labels), (test_images, test_labels) = dataset.train(), dataset.test()
    assert images.shape[1:] == (8, 8, 3)
    assert len(labels) + len(test_labels) == 1797
    assert np.bincount(test_labels).min() >= 35
    assert {i.tobytes() for i in images}.isdisjoint({i.tobytes() for i in test_images})


LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 50))


def test_split_is_balanced_disjoint_and_whole() -> None:
    train, validation = split(LABELS, 0.2)
    assert np.bincount(LABELS[validation]).tolist() == [10] * 10
    assert np.bincount(LABELS[train]).tolist() == [40] * 10
    assert sorted([*train, *validation]) == list(range(500))


def test_split_is_the_same_every_time_and_no_mere_prefix() -> None:
    first, again = split(LABELS, 0.2), split(LABELS.copy(), 0.2)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert first[1].max() > 250


def test_smaller_train_sizes_nest_and_leave_validation_alone() -> None:
    whole, validation = split(LABELS, 0.2)
    part, same = split(LABELS, 0.2, train_size=103)
    smaller, _ = split(LABELS, 0.2, train_size=20)
    assert len(part) == 103
    assert np.ptp(np.bincount(LABELS[part])) == 1
    assert set(smaller) < set(part) < set(whole)
    assert (same == validation).all()


def test_a_train_size_that_is_too_large_is_an_error() -> None:
    with pytest.raises(ValueError, match="train_size=401 wants 41 images of class 0, of which 40 remain"):
        split(LABELS, 0.2, train_size=401)


@pytest.mark.skipif("CIFAR10_DIR" not in os.environ, reason="CIFAR10_DIR names no copy of CIFAR-10")
def test_a_real_pack_looks_like_cifar10() -> None:
    images, labels = open_dataset("cifar10", REAL).train()
    assert len(set(np.bincount(labels))) == 1
    assert images.mean(axis=(0, 1, 2)) / 255 == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.01)


REAL = os.environ.get("CIFAR10_DIR")  # before the fixture hides it
