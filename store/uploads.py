"""Uploads: announced, sent in parts, completed, verified. Bytes the project already holds are not sent again."""

from datetime import timedelta

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from modelpress.problem import Conflict, NotFound, Unavailable
from modelpress.resources import UploadRequest
from modelpress.result import Result
from store import contents, jobs, leases
from store.blobs.base import Blobs
from store.claims import Claimed
from store.contents import Content, blob_key
from store.database import Database, now
from store.ids import new_id
from store.problems import QuotaExceeded, TooLarge, UploadIncomplete, UploadMismatch
from store.settings import MIB, Settings
from store.tables import Blob, Project, Upload

MOST_PARTS = 10_000


def create(session: Session, settings: Settings, blobs: Blobs, project: Project, request: UploadRequest) -> Upload:
    """Announce a file; raises TooLarge or QuotaExceeded."""
    if request.size_bytes > settings.max_upload_bytes:
        raise TooLarge(f"{request.size_bytes} bytes; at most {settings.max_upload_bytes} are taken in one upload")
    upload_id, moment = new_id("upl"), now(session)
    held = contents.find(session, project.id, request.sha256)
    if held is not None and held.size_bytes != request.size_bytes:
        raise UploadMismatch(f"the file with this hash has {held.size_bytes} bytes, not {request.size_bytes}")
    if held is None:
        _check_room(session, settings, project, request.size_bytes)
    upload = Upload(
        id=upload_id,
        project_id=project.id,
        filename=request.filename,
        size_bytes=request.size_bytes,
        sha256=request.sha256,
        state="completed" if held else "pending",
        mode="none" if held else "direct" if blobs.can_sign() else "proxy",
        part_size=0 if held else part_size(settings, request.size_bytes),
        staging=None if held else blobs.begin(upload_id),
        created_at=moment,
        expires_at=None if held else moment + timedelta(hours=settings.upload_hours),
    )
    session.add(upload)
    session.flush()
    return upload


def part_size(settings: Settings, size_bytes: int) -> int:
    """Bytes of every part but the last: as many MiB as are needed to stay below the most parts."""
    least = -(-size_bytes // MOST_PARTS)
    return max(settings.part_bytes, -(-least // MIB) * MIB)


def part_span(upload: Upload, number: int) -> tuple[int, int]:
    """Offset and size of a part; raises NotFound for one that the upload doesn't have."""
    if not 1 <= number <= part_count(upload):
        raise NotFound(f"this upload has parts 1 to {part_count(upload)}, not {number}")
    offset = (number - 1) * upload.part_size
    return offset, min(upload.part_size, upload.size_bytes - offset)


def part_count(upload: Upload) -> int:
    return -(-upload.size_bytes // upload.part_size) if upload.part_size else 0


def check_open(upload: Upload) -> str:
    """The handle of an upload that still takes parts; raises Conflict."""
    if upload.state != "pending" or upload.staging is None:
        raise Conflict(f"{upload.id} is {upload.state} and takes no more parts", hint="Start a new upload.")
    return upload.staging


def complete(session: Session, settings: Settings, blobs: Blobs, upload: Upload) -> Upload:
    """All parts are here: have them verified. Completing twice is harmless."""
    if upload.state in ("verifying", "completed"):
        return upload
    arrived = blobs.parts(check_open(upload))
    wrong = [n for n in range(1, part_count(upload) + 1) if arrived.get(n) != part_span(upload, n)[1]]
    if wrong:
        some = ", ".join(map(str, wrong[:10])) + (", ..." if len(wrong) > 10 else "")
        raise UploadIncomplete(
            f"{len(wrong)} parts are missing or short: {some}", hint="Send these and complete again."
        )
    upload.state, upload.expires_at = "verifying", None
    session.flush()
    jobs.create_service_job(session, settings, "verify", upload.project_id, upload_id=upload.id)
    return upload


def abort(session: Session, blobs: Blobs, upload: Upload) -> None:
    """The client gives up; an upload that is complete stays what it is."""
    if upload.state == "pending":
        upload.state = "expired"
        _drop_parts(session, blobs, upload)


def verify(database: Database, blobs: Blobs, claimed: Claimed) -> None:
    """Run a claimed `verify` job to its end. Raises LeaseLost, Unavailable (requeue it), or what the store raises."""
    with database.read() as session:
        upload = session.get_one(Upload, claimed.upload_id)
    assert upload.staging is not None
    content = Content(upload.sha256, upload.size_bytes)
    try:
        blobs.join(upload.staging)
        came = Content(*blobs.digest(upload.staging))
    except FileNotFoundError:
        raise Unavailable(f"the parts of {upload.id} are gone") from None
    if came != content:
        detail = (
            f"announced {content.size_bytes} bytes of sha256 {content.sha256}; {came.size_bytes} of {came.sha256} came"
        )
        with database.write() as session:
            leases.fail(session, claimed.token, UploadMismatch(detail, hint="Upload the file again.").problem())
    else:
        blobs.promote(upload.staging, blob_key(upload.project_id, content.sha256))
        with database.write() as session:
            leases.held(session, claimed.token)
            contents.enter(session, blobs, upload.project_id, content)
            leases.finish(session, claimed.token, Result(kind="verify"))
    with database.write() as session:
        _drop_parts(session, blobs, session.get_one(Upload, upload.id, with_for_update=True))


def expire(database: Database, blobs: Blobs) -> int:
    """Drop uploads that were not completed in time, and parts whose upload is over; returns how many."""
    with database.write() as session:
        is_late = and_(Upload.state == "pending", Upload.expires_at < now(session))
        is_over = and_(Upload.state.in_(("completed", "failed", "expired")), Upload.staging.is_not(None))
        old = select(Upload).where(or_(is_late, is_over)).limit(100)
        uploads = session.scalars(old.with_for_update(skip_locked=True)).all()
        for upload in uploads:
            upload.state = "expired" if upload.state == "pending" else upload.state
            _drop_parts(session, blobs, upload)
        return len(uploads)


def _drop_parts(session: Session, blobs: Blobs, upload: Upload) -> None:
    if upload.staging is not None:
        blobs.drop(upload.staging)
        upload.staging = None
        session.flush()


def _check_room(session: Session, settings: Settings, project: Project, size: int) -> None:
    most = project.max_stored_bytes or settings.max_stored_bytes
    stored = session.scalar(select(func.coalesce(func.sum(Blob.size_bytes), 0)).where(Blob.project_id == project.id))
    coming = session.scalar(
        select(func.coalesce(func.sum(Upload.size_bytes), 0)).where(
            Upload.project_id == project.id, Upload.state.in_(("pending", "verifying"))
        )
    )
    used = int(stored or 0) + int(coming or 0)
    if used + size > most:
        raise QuotaExceeded(
            f"the project holds or expects {used} of its {most} bytes; {size} more don't fit",
            hint="Delete models, data sets or unfinished uploads, or ask for more room.",
        )
