import gzip
import io
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from core.data.images import read_images
from modelpress.problem import DataEmpty, DataError, DataMismatch, DataTooLarge, DataUnsafe


def png(value: int = 0, size: tuple[int, int] = (4, 6)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (value, value // 2, 255 - value)).save(out, "PNG")
    return out.getvalue()


def zipped(path, files: dict[str, bytes]):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path, files: dict[str, bytes], mode: str = "w"):
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


FOLDERS = {"set/dog/1.png": png(10), "set/cat/1.png": png(20), "set/cat/2.PNG": png(30), "set/readme.txt": b"hello"}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_a_folder_is_a_class_and_pixels_are_decoded_when_asked_for(tmp_path, kind):
    path = tmp_path / f"images.{kind}"
    if kind == "zip":
        zipped(path, FOLDERS)
    else:
        tarred(path, FOLDERS, "w:gz" if kind == "tar.gz" else "w")
    raw = read_images([path], 3, None, tmp_path)
    assert raw.classes == ["cat", "dog"]
    assert raw.labels.tolist() == [1, 0, 0]
    pixels = raw.columns[""].take(np.array([2, 0]))
    assert pixels.shape == (2, 6, 4, 3)
    assert pixels[:, 0, 0].tolist() == [[30, 15, 225], [10, 5, 245]]
    assert "1 files" in raw.notes[0]


def test_images_in_one_folder_have_no_labels(tmp_path):
    raw = read_images([zipped(tmp_path / "i.zip", {"1.png": png(), "2.png": png()})], 1, None, tmp_path)
    assert raw.labels is None
    assert raw.columns[""].sample_shape == (6, 4)


def test_images_of_several_sizes_need_a_resize(tmp_path):
    path = zipped(tmp_path / "i.zip", {"a/1.png": png(9), "b/2.png": png(9, (8, 8))})
    with pytest.raises(DataMismatch, match=r"b/2.png is 8 x 8 pixels and the first image 6 x 4"):
        read_images([path], 3, None, tmp_path).columns[""].take(np.array([0, 1]))
    assert read_images([path], 3, (5, 5), tmp_path).columns[""].take(np.array([0, 1])).shape == (2, 5, 5, 3)


def test_class_folders_must_be_at_one_level(tmp_path):
    with pytest.raises(DataError, match="some in class folders"):
        read_images([zipped(tmp_path / "i.zip", {"a/1.png": png(), "2.png": png()})], 3, None, tmp_path)


def test_an_archive_without_images_is_empty(tmp_path):
    with pytest.raises(DataEmpty):
        read_images([zipped(tmp_path / "i.zip", {"a/readme.txt": b""})], 3, None, tmp_path)


def test_what_is_called_an_image_and_is_none_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a/1\.png is not an image"):
        read_images([zipped(tmp_path / "i.zip", {"a/1.png": b"\x80\x04pickle"})], 3, None, tmp_path)


@pytest.mark.parametrize("name", ["../../escaped.png", "/etc/escaped.png", "a\\..\\b.png", "C:/x.png"])
def test_names_that_lead_out_are_refused(tmp_path, name):
    for path in (zipped(tmp_path / "i.zip", {"a/1.png": png(), name: png()}),
                 tarred(tmp_path / "i.tar", {"a/1.png": png(), name: png()})):  # fmt: skip
        with pytest.raises(DataUnsafe):
            read_images([path], 3, None, tmp_path / "scratch")
    assert {path.name for path in tmp_path.iterdir()} == {"i.zip", "i.tar"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "i.tar", "w") as archive:
        member = tarfile.TarInfo("a/1.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(DataUnsafe, match="link or device"):
        read_images([tmp_path / "i.tar"], 3, None, tmp_path)


def test_links_in_a_zip_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "i.zip", "w") as archive:
        member = zipfile.ZipInfo("a/1.png")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(DataUnsafe, match="link or device"):
        read_images([tmp_path / "i.zip"], 3, None, tmp_path)


def test_a_zip_bomb_is_refused_by_what_it_declares(tmp_path):
    path = zipped(tmp_path / "i.zip", {"a/1.png": bytes(80 * 2**20)})
    assert path.stat().st_size < 2**20
    with pytest.raises(DataTooLarge, match="expands from"):
        read_images([path], 3, None, tmp_path)


def test_many_small_bombs_count_together(tmp_path):
    path = zipped(tmp_path / "i.zip", {f"a/{n}.png": bytes(10 * 2**20) for n in range(8)})
    with pytest.raises(DataTooLarge):
        read_images([path], 3, None, tmp_path)


def test_a_gzip_bomb_is_stopped_while_it_expands_and_leaves_nothing(tmp_path):
    with gzip.open(tmp_path / "i.tar.gz", "wb", compresslevel=9) as file:
        for _ in range(100):
            file.write(bytes(2**20))
    with pytest.raises(DataTooLarge):
        read_images([tmp_path / "i.tar.gz"], 3, None, tmp_path / "scratch")
    assert not list((tmp_path / "scratch").iterdir())


def test_an_image_of_absurd_size_is_refused_before_it_is_decoded(tmp_path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    path = zipped(tmp_path / "i.zip", {"a/1.png": b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT"})
    with pytest.raises(DataTooLarge, match="pixels"):
        read_images([path], 3, None, tmp_path)


def test_something_else_than_an_archive_is_refused(tmp_path):
    (tmp_path / "i.zip").write_bytes(b"not an archive")
    with pytest.raises(DataError, match="neither a zip nor a tar"):
        read_images([tmp_path / "i.zip"], 3, None, tmp_path)


def test_a_layout_that_does_not_fit_is_named_but_only_once_the_archive_is_safe(tmp_path):
    with pytest.raises(DataMismatch, match="1, 3 or 4 channels") as refused:
        read_images([zipped(tmp_path / "i.zip", {"1.png": png()})], 32, None, tmp_path)
    assert "hwc_to_chw" in refused.value.hint
    with pytest.raises(DataUnsafe):
        read_images([zipped(tmp_path / "u.zip", {"../1.png": png()})], 32, None, tmp_path)
