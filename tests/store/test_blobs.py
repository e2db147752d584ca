"""Blobs: the same behaviour on a local folder and on a real S3 server."""

import asyncio
import hashlib
import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from store.blobs import Blobs, LocalBlobs
from store.blobs.s3 import S3Blobs
from store.settings import MIB, Settings
from tests.servers import S3Server
from tests.store.conftest import pieces
from tests.workplace import sha256_of

PART = 5 * MIB
"""S3's least."""


def s3_settings(folder: Path, server: S3Server, *, public: bool) -> Settings:
    return Settings(
        data_dir=folder,
        s3_endpoint=server.endpoint,
        s3_public_endpoint=server.endpoint if public else None,
        s3_bucket=server.bucket,
        s3_access_key=server.access_key,
        s3_secret_key=server.secret_key,  # type: ignore[arg-type]
    )


@pytest.fixture(params=["local", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "local":
        return LocalBlobs(tmp_path / "blobs")
    return S3Blobs(s3_settings(tmp_path, request.getfixturevalue("s3_server"), public=True))


@pytest.fixture
def key() -> str:
    return f"projects/prj_{secrets.token_hex(8)}/blobs/ab/{secrets.token_hex(32)}"


def put_part(blobs: Blobs, handle: str, number: int, content: bytes, size: int | None = None, part: int = PART) -> None:
    wanted = len(content) if size is None else size
    asyncio.run(blobs.put_part(handle, number, (number - 1) * part, wanted, pieces(content)))


def whole(blobs: Blobs, key: str, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join(blobs.read(key, start, stop))


def test_what_was_put_can_be_read_in_ranges_and_deleted(blobs: Blobs, key: str, tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    assert blobs.size(key) is None
    blobs.put(key, path, sha256_of(b"0123456789"))
    assert blobs.size(key) == 10
    assert whole(blobs, key) == b"0123456789"
    assert whole(blobs, key, 3, 6) == b"345"
    assert whole(blobs, key, 8) == b"89"
    assert whole(blobs, key, 10) == b""
    blobs.delete(key)
    blobs.delete(key)
    assert blobs.size(key) is None
    with pytest.raises(FileNotFoundError):
        blobs.read(key)


def test_parts_in_any_order_become_one_object_only_when_promoted(blobs: Blobs, key: str):
    first, last = secrets.token_bytes(PART), b"the end"
    handle = blobs.begin(f"upl_{secrets.token_hex(8)}")
    put_part(blobs, handle, 2, last)
    put_part(blobs, handle, 1, b"x" * PART if blobs.is_local else first)  # rclone takes a part again, but no other
    put_part(blobs, handle, 1, first)
    assert blobs.parts(handle) == {1: PART, 2: len(last)}
    for _ in range(2):
        blobs.join(handle)
    assert blobs.digest(handle) == (sha256_of(first + last), PART + len(last))
    assert blobs.size(key) is None
    for _ in range(2):
        blobs.promote(handle, key)
    blobs.drop(handle)
    blobs.drop(handle)
    assert whole(blobs, key) == first + last


def test_an_empty_file_can_be_promoted_too(blobs: Blobs, key: str):
    handle = blobs.begin(f"upl_{secrets.token_hex(8)}")
    blobs.join(handle)
    assert blobs.digest(handle) == (hashlib.sha256().hexdigest(), 0)
    blobs.promote(handle, key)
    assert blobs.size(key) == 0


@pytest.mark.parametrize("content", [b"short", b"much too long"])
def test_a_part_of_another_size_leaves_nothing(blobs: Blobs, content: bytes):
    handle = blobs.begin(f"upl_{secrets.token_hex(8)}")
    with pytest.raises(ValueError, match="part 1 has 8 bytes"):
        put_part(blobs, handle, 1, content, size=8)
    assert blobs.parts(handle) == {}


def test_a_part_that_was_cut_off_leaves_nothing(blobs: Blobs):
    async def cut() -> AsyncIterator[bytes]:
        yield b"some"
        raise ConnectionError

    handle = blobs.begin(f"upl_{secrets.token_hex(8)}")
    with pytest.raises(ConnectionError):
        asyncio.run(blobs.put_part(handle, 1, 0, 8, cut()))
    assert blobs.parts(handle) == {}


def test_after_joining_no_part_is_taken(blobs: Blobs, key: str):
    handle = blobs.begin(f"upl_{secrets.token_hex(8)}")
    put_part(blobs, handle, 1, b"verified")
    blobs.join(handle)
    with pytest.raises(FileNotFoundError):
        put_part(blobs, handle, 1, b"attacker")
    assert blobs.digest(handle)[0] == sha256_of(b"verified")


def test_joining_waits_for_a_part_that_is_being_written(tmp_path: Path):
    blobs, joined = LocalBlobs(tmp_path), threading.Event()
    handle = blobs.begin("upl_a")

    async def slow() -> AsyncIterator[bytes]:
        yield b"slo"
        threading.Thread(target=lambda: (blobs.join(handle), joined.set()), daemon=True).start()
        await asyncio.sleep(0.2)
        assert not joined.is_set()
        yield b"wly"

    asyncio.run(blobs.put_part(handle, 1, 0, 6, slow()))
    assert joined.wait(10)
    assert blobs.digest(handle) == (sha256_of(b"slowly"), 6)


def test_no_name_leads_out_of_the_local_folder(tmp_path: Path):
    blobs = LocalBlobs(tmp_path / "blobs")
    for name in ("../x", "a/../../x", "/etc/passwd", "", ".", "a//b", "a\0b"):
        with pytest.raises(ValueError, match="not a name that we make"):
            blobs.size(name)
    with pytest.raises(ValueError, match="not a name"):
        blobs.begin("../x")


def test_local_objects_are_read_only_and_no_drafts_stay(tmp_path: Path):
    blobs, path = LocalBlobs(tmp_path / "blobs"), tmp_path / "file"
    path.write_bytes(b"x")
    blobs.put("projects/p/blobs/ab/c", path, "")
    [stored] = [each for each in (tmp_path / "blobs" / "objects").rglob("*") if each.is_file()]
    assert stored.stat().st_mode & 0o777 == 0o400


# -- straight to S3 -----------------------------------------------------------------------------------------


@pytest.fixture
def s3(tmp_path: Path, s3_server: S3Server) -> S3Blobs:
    return S3Blobs(s3_settings(tmp_path, s3_server, public=True))


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, verify=False) as client:
        yield client


def test_a_client_sends_parts_and_fetches_objects_at_signed_addresses(s3: S3Blobs, key: str, http: httpx.Client):
    handle = s3.begin(f"upl_{secrets.token_hex(8)}")
    signed = s3.sign_part(handle, 1, 5)
    assert http.put(signed.url, content=b"bytes", headers=signed.headers).status_code == 200
    assert s3.parts(handle) == {1: 5}
    s3.join(handle)
    s3.promote(handle, key)
    address = s3.url(key, "mödel.onnx", "application/octet-stream")
    assert address is not None
    answer = http.get(address.url)
    assert answer.content == b"bytes"
    tampered = address.url.replace(key[-8:], "00000000")
    assert http.get(tampered).status_code in (400, 403)


def test_without_a_public_address_everything_goes_through_us(tmp_path: Path, s3_server: S3Server, key: str):
    inner = S3Blobs(s3_settings(tmp_path, s3_server, public=False))
    assert not inner.can_sign()
    assert inner.url(key, "a", "b") is None
