import io
import zipfile

import numpy as np
import pytest

from core.data import limits
from core.data.npz import read_npz
from modelpress.problem import DataError, DataMismatch, DataUnsafe


def test_arrays_come_as_they_were_saved(tmp_path):
    x, y = np.arange(24, dtype=np.float32).reshape(4, 2, 3), np.arange(4)
    np.savez_compressed(tmp_path / "d.npz", x=np.asfortranarray(x), y=y, other=np.array(["a", "b"]))
    raw = read_npz(tmp_path / "d.npz", "y", ["x"])
    assert set(raw.columns) == {"x"}
    np.testing.assert_array_equal(raw.columns["x"].take(np.array([3, 0])), x[[3, 0]])
    np.testing.assert_array_equal(raw.labels, y)


def test_large_arrays_stay_on_disk(tmp_path):
    big = np.zeros((limits.LARGE_BYTES // 1024, 1024), np.uint8)
    big[7, 3] = 9
    np.savez(tmp_path / "d.npz", x=big, small=big[:4])
    raw = read_npz(tmp_path / "d.npz", None, ["x", "small"])
    assert isinstance(raw.columns["x"].array, np.memmap)
    assert not isinstance(raw.columns["small"].array, np.memmap)
    assert raw.columns["x"].take(np.array([7]))[0, 3] == 9


def test_pickled_objects_are_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    np.savez(tmp_path / "d.npz", x=np.array([Bomb()], dtype=object))
    with pytest.raises(DataUnsafe, match="pickled"):
        read_npz(tmp_path / "d.npz", None, ["x"])
    assert not (tmp_path / "exploded").exists()


def test_a_missing_array_is_named_with_those_that_are_there(tmp_path):
    np.savez(tmp_path / "d.npz", images=np.zeros(3))
    with pytest.raises(DataMismatch, match="no array 'x'; it has images"):
        read_npz(tmp_path / "d.npz", None, ["x"])


def write_member(path, header: bytes, values: bytes = b"") -> None:
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": (2,)})
    whole = member.getvalue().replace(b"(2,)", header) + values
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", whole)


def test_a_header_that_declares_more_than_is_there_is_refused_before_anything_is_allocated(tmp_path):
    write_member(tmp_path / "d.npz", b"(99999999999,)", bytes(8))
    with pytest.raises(DataError, match="declares 399,999,999,996 bytes"):
        read_npz(tmp_path / "d.npz", None, ["x"])


@pytest.mark.parametrize("header", [b"(-2,)", b"print(1)", b"(1,) * 9**9"])
def test_headers_are_data_and_nothing_else(tmp_path, header):
    write_member(tmp_path / "d.npz", header)
    with pytest.raises(DataError):
        read_npz(tmp_path / "d.npz", None, ["x"])


@pytest.mark.parametrize("cut", [0, 10, 200])
def test_a_file_cut_off_is_refused(tmp_path, cut):
    np.savez(tmp_path / "d.npz", x=np.zeros(100))
    content = (tmp_path / "d.npz").read_bytes()
    (tmp_path / "d.npz").write_bytes(content[:cut])
    with pytest.raises(DataError):
        read_npz(tmp_path / "d.npz", None, ["x"])


def test_a_damaged_member_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "d.npz", x=np.random.default_rng(0).normal(size=1000))
    content = bytearray((tmp_path / "d.npz").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "d.npz").write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read_npz(tmp_path / "d.npz", None, ["x"])
