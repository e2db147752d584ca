"""IDX and CIFAR."""

import gzip
import struct

import numpy as np
import pytest

from core.data.cifar import read_cifar
from core.data.idx import read_idx
from modelpress.problem import DataError, DataTooLarge


def idx(path, array: np.ndarray, kind: int = 0x08, packed: bool = False):
    head = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = head + array.tobytes()
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_idx_gives_images_and_labels(tmp_path, packed):
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    paths = [idx(tmp_path / "i", images, packed=packed), idx(tmp_path / "l", np.array([5, 7], np.uint8), packed=packed)]
    raw = read_idx(paths, tmp_path / "scratch")
    np.testing.assert_array_equal(raw.columns[""].take(np.array([0, 1])), images)
    assert raw.labels.tolist() == [5, 7]


def test_idx_numbers_are_big_endian(tmp_path):
    raw = read_idx([idx(tmp_path / "i", np.array([[1.5, -2.0]], ">f4"), kind=0x0D)], tmp_path)
    assert raw.columns[""].take(np.array([0])).tolist() == [[1.5, -2.0]]
    assert raw.columns[""].dtype == np.float32


@pytest.mark.parametrize(
    "content", [b"", b"\0\0", b"PK\3\4whatever", b"\0\0\x08\x01\0\0\0\x09abc", b"\0\0\x08\x03\0\0"]
)
def test_what_is_no_idx_is_refused(tmp_path, content):
    (tmp_path / "i").write_bytes(content)
    with pytest.raises(DataError):
        read_idx([tmp_path / "i"], tmp_path)


def test_a_gzipped_bomb_is_refused(tmp_path):
    with gzip.open(tmp_path / "i", "wb") as file:
        for _ in range(100):
            file.write(bytes(2**20))
    with pytest.raises(DataTooLarge):
        read_idx([tmp_path / "i"], tmp_path / "scratch")


@pytest.mark.parametrize("label_bytes, top", [(1, 9), (2, 99)])
def test_cifar_rows_become_images_and_labels_across_files(tmp_path, label_bytes, top):
    rows = np.random.default_rng(0).integers(0, 10, (4, label_bytes + 3072)).astype(np.uint8)
    rows[0, label_bytes - 1] = top
    (tmp_path / "1.bin").write_bytes(rows[:3].tobytes())
    (tmp_path / "2.bin").write_bytes(rows[3:].tobytes())
    raw = read_cifar([tmp_path / "1.bin", tmp_path / "2.bin"], tmp_path)
    assert raw.labels.tolist() == rows[:, label_bytes - 1].tolist()
    np.testing.assert_array_equal(raw.columns[""].take(np.array([3, 0]))[:, 0, 0, 0], rows[[3, 0], label_bytes])
    assert raw.columns[""].sample_shape == (3, 32, 32)


def test_what_is_no_cifar_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(bytes(3072))
    with pytest.raises(DataError, match="not a CIFAR batch"):
        read_cifar([tmp_path / "x"], tmp_path)
    (tmp_path / "y").write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(DataError, match="labels in range"):
        read_cifar([tmp_path / "y"], tmp_path)
