"""Uploads and what holds blobs: verified before visible, shared inside a project only, collected when unused."""

import os
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from modelpress.problem import Unavailable
from modelpress.resources import ModelRequest, UploadRequest
from modelpress.result import Result
from store import contents, leases, models, uploads
from store.cache import BlobCache
from store.claims import Claimed, Input
from store.contents import blob_key
from store.database import now
from store.problems import QuotaExceeded, TooLarge, UploadMismatch
from store.settings import MIB, Settings
from store.tables import Blob, Model, Upload
from tests.store.conftest import Store
from tests.workplace import sha256_of


def verify(store: Store) -> Claimed:
    claimed = store.claim("inspect")
    assert claimed is not None
    uploads.verify(store.database, store.blobs, claimed)
    return claimed


def blob_rows(store: Store) -> list[str]:
    with store.database.read() as session:
        return list(session.scalars(select(Blob.sha256)))


def test_bytes_are_visible_only_once_they_were_verified(store: Store):
    upload_id = store.upload(b"good")
    assert blob_rows(store) == []
    verify(store)
    assert blob_rows(store) == [sha256_of(b"good")]
    assert b"".join(store.blobs.read(blob_key(store.project.id, sha256_of(b"good")))) == b"good"
    with store.database.read() as session:
        assert session.get_one(Upload, upload_id).state == "completed"


def test_bytes_with_another_hash_are_dropped_and_what_was_made_of_them_is_rejected(store: Store):
    upload_id = store.upload(b"evil", announced=b"good")
    with store.database.write() as session:
        model = models.create(store.scope(session), store.settings, ModelRequest(name="m", upload_id=upload_id))
    verify(store)
    assert blob_rows(store) == []
    with store.database.read() as session:
        upload, rejected = session.get_one(Upload, upload_id), session.get_one(Model, model.id)
    assert upload.state == "failed"
    assert rejected.state == "rejected"
    assert upload.error is not None
    assert upload.error["code"] == "upload_mismatch"
    assert rejected.error == upload.error
    assert store.claim("inspect") is None


def test_a_verification_that_died_before_its_commit_can_be_done_again(store: Store):
    store.upload(b"good")
    first = store.claim("inspect")
    assert first is not None
    with store.database.read() as session:
        upload = session.get_one(Upload, first.upload_id)
    assert upload.staging is not None
    store.blobs.join(upload.staging)
    store.blobs.promote(upload.staging, blob_key(store.project.id, upload.sha256))
    with store.database.write() as session:  # here the worker dies, and its job comes back
        leases.requeue(session, store.settings, first.token, Unavailable().problem())
    verify(store)
    assert blob_rows(store) == [sha256_of(b"good")]


def test_a_model_of_two_files_is_inspected_once_both_are_verified(store: Store):
    ids = [store.upload(b"model"), store.upload(b"weights")]
    files = [{"path": "m.onnx", "upload_id": ids[0]}, {"path": "m.data", "upload_id": ids[1]}]
    request = ModelRequest.model_validate({"name": "m", "files": files})
    with store.database.write() as session:
        models.create(store.scope(session), store.settings, request)
    verify(store)
    second = store.claim("inspect")
    assert second is not None
    assert second.kind == "verify"
    uploads.verify(store.database, store.blobs, second)
    inspect = store.claim("inspect")
    assert inspect is not None
    assert inspect.kind == "inspect"
    assert inspect.spec["model"] == "m.onnx"
    assert [each.name for each in inspect.inputs] == ["m.data", "m.onnx"]


def test_known_bytes_are_not_sent_again_but_another_project_must_send_them(store: Store):
    store.upload(b"good")
    verify(store)
    request = UploadRequest(filename="b", size_bytes=4, sha256=sha256_of(b"good"))
    with store.database.write() as session:
        ours = uploads.create(session, store.settings, store.blobs, store.project, request)
        theirs = uploads.create(session, store.settings, store.blobs, store.other, request)
    assert (ours.state, ours.mode) == ("completed", "none")
    assert (theirs.state, theirs.mode) == ("pending", "proxy")


def test_a_known_hash_of_another_size_is_refused(store: Store):
    store.upload(b"good")
    verify(store)
    request = UploadRequest(filename="b", size_bytes=5, sha256=sha256_of(b"good"))
    with pytest.raises(UploadMismatch), store.database.write() as session:
        uploads.create(session, store.settings, store.blobs, store.project, request)


def test_a_project_stores_no_more_than_its_quota(store: Store):
    store.project.max_stored_bytes = 10
    store.upload(b"123456")
    request = UploadRequest(filename="b", size_bytes=5, sha256=sha256_of(b"other"))
    with pytest.raises(QuotaExceeded, match="6 of its 10 bytes"), store.database.write() as session:
        uploads.create(session, store.settings, store.blobs, store.project, request)


def test_an_upload_has_a_largest_size(store: Store):
    request = UploadRequest(filename="b", size_bytes=store.settings.max_upload_bytes + 1, sha256="0" * 64)
    with pytest.raises(TooLarge), store.database.write() as session:
        uploads.create(session, store.settings, store.blobs, store.project, request)


@pytest.mark.parametrize(("size", "part"), [(1, 16 * MIB), (160_000 * MIB, 16 * MIB), (160_001 * MIB, 17 * MIB)])
def test_parts_are_few_enough_for_s3(size: int, part: int):
    assert uploads.part_size(Settings(), size) == part
    assert -(-size // part) <= uploads.MOST_PARTS


def test_an_upload_that_is_never_completed_is_dropped(store: Store, tmp_path: Path):
    request = UploadRequest(filename="b", size_bytes=5, sha256=sha256_of(b"other"))
    with store.database.write() as session:
        upload = uploads.create(session, store.settings, store.blobs, store.project, request)
    assert uploads.expire(store.database, store.blobs) == 0
    with store.database.write() as session:
        session.get_one(Upload, upload.id).expires_at = now(session) - timedelta(seconds=1)
    assert uploads.expire(store.database, store.blobs) == 1
    assert list((tmp_path / "blobs" / "staging").iterdir()) == []
    with store.database.read() as session:
        assert session.get_one(Upload, upload.id).state == "expired"


def test_parts_of_a_verification_that_never_ended_are_dropped_too(store: Store, tmp_path: Path):
    upload_id = store.upload(b"good")
    claimed = store.claim("inspect")
    assert claimed is not None
    with store.database.write() as session:
        leases.fail(session, claimed.token, Unavailable().problem())
    assert len(list((tmp_path / "blobs" / "staging").iterdir())) == 1
    assert uploads.expire(store.database, store.blobs) == 1
    assert list((tmp_path / "blobs" / "staging").iterdir()) == []
    with store.database.read() as session:
        assert session.get_one(Upload, upload_id).state == "failed"


# -- garbage ------------------------------------------------------------------------------------------------


def test_a_blob_goes_when_nothing_refers_to_it_and_not_before(store: Store):
    store.settings.blob_grace_hours = 0.0
    upload_id = store.upload(b"model")
    verify(store)
    with store.database.write() as session:
        model = models.create(store.scope(session), store.settings, ModelRequest(name="m", upload_id=upload_id))
    assert contents.collect_garbage(store.database, store.blobs, store.settings) == 0
    claimed = store.claim("inspect")
    assert claimed is not None
    with store.database.write() as session:
        models.delete(store.scope(session), model.id)
    assert contents.collect_garbage(store.database, store.blobs, store.settings) == 0
    with store.database.write() as session:
        leases.finish(session, claimed.token, Result(kind="inspect"))
    assert contents.collect_garbage(store.database, store.blobs, store.settings) == 1
    assert store.blobs.size(blob_key(store.project.id, sha256_of(b"model"))) is None
    assert blob_rows(store) == []


def test_a_blob_that_was_wanted_lately_is_kept(store: Store):
    store.upload(b"fresh")
    verify(store)
    assert contents.collect_garbage(store.database, store.blobs, store.settings) == 0


def test_a_row_is_never_written_for_bytes_that_are_gone(store: Store):
    with pytest.raises(Unavailable), store.database.write() as session:
        contents.enter(session, store.blobs, store.project.id, contents.Content("a" * 64, 3))
    assert blob_rows(store) == []


# -- a worker's cache ---------------------------------------------------------------------------------------


class Remote:
    """A blob store elsewhere: counts what is fetched from it."""

    is_local = False

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.reads: list[str] = []

    def read(self, key: str, start: int = 0, stop: int | None = None):
        self.reads.append(key)
        if key not in self.objects:
            raise FileNotFoundError(key)
        return iter([self.objects[key]])


def wanted(content: bytes, key: str = "k") -> Input:
    return Input("in.bin", key, sha256_of(content), len(content))


def test_the_cache_fetches_once_and_its_copies_can_be_changed(tmp_path: Path):
    remote = Remote()
    remote.objects["k"] = b"content"
    cache = BlobCache(tmp_path / "cache", remote, 100)  # type: ignore[arg-type]
    cache.fetch("prj_a", wanted(b"content"), tmp_path / "one")
    (tmp_path / "one").write_bytes(b"overwritten")
    cache.fetch("prj_a", wanted(b"content"), tmp_path / "two")
    assert (tmp_path / "two").read_bytes() == b"content"
    assert remote.reads == ["k"]
    cache.fetch("prj_b", wanted(b"content"), tmp_path / "three")
    assert remote.reads == ["k", "k"]


def test_the_cache_drops_what_was_used_longest_ago(tmp_path: Path):
    remote, cache_dir = Remote(), tmp_path / "cache"
    cache = BlobCache(cache_dir, remote, 20)  # type: ignore[arg-type]
    for i, name in enumerate(("a", "b", "c")):
        remote.objects[name] = name.encode() * 10
        cache.fetch("prj_a", wanted(remote.objects[name], name), tmp_path / f"{name}.out")
        os.utime(cache_dir / "prj_a" / sha256_of(remote.objects[name]), (i, i))
    assert not (cache_dir / "prj_a" / sha256_of(b"a" * 10)).exists()
    assert sum(path.stat().st_size for path in cache_dir.glob("prj_*/*")) == 20


@pytest.mark.parametrize("stored", [{}, {"k": b"damaged"}])
def test_bytes_that_are_gone_or_damaged_are_never_handed_out(tmp_path: Path, stored: dict[str, bytes]):
    remote = Remote()
    remote.objects = stored
    cache = BlobCache(tmp_path / "cache", remote, 100)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match=r"in\.bin"):
        cache.fetch("prj_a", wanted(b"content"), tmp_path / "one")
