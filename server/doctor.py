"""`modelpress-server doctor`: is everything there that this process would need?"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import redis
from sqlalchemy.exc import SQLAlchemyError

from modelpress.problem import ProblemError
from store import workers
from store.blobs import open_blobs
from store.contents import blob_key
from store.database import Database
from store.migrate import check
from store.settings import Settings
from worker.devices import visible_gpus
from worker.sandbox import probe

PROBE = b"modelpress doctor\n"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. What is not required may be missing."""

    what: str
    is_well: bool
    detail: str
    hint: str = ""
    is_required: bool = True


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything, one by one; nothing raises."""
    yield _tried("data folder", lambda: _look_at_folder(settings), "Make it writable, or set MODELPRESS_DATA_DIR.")
    yield _tried(
        "database",
        lambda: _look_at_database(settings),
        "Check MODELPRESS_DATABASE_URL; run `modelpress-server migrate`.",
    )
    yield _tried("blobs", lambda: _look_at_blobs(settings), "Check MODELPRESS_S3_* and that the bucket exists.")
    if settings.redis_url:
        yield _tried("broker", lambda: _look_at_broker(settings), "Check MODELPRESS_REDIS_URL.")
    found = probe()
    hint = (
        "" if found.level == "full" else "Only bind to loopback here, or run on Linux 5.13 or newer with Landlock on."
    )
    yield Finding("sandbox", found.level == "full", "; ".join([found.level, *found.missing]), hint, is_required=False)
    gpus = visible_gpus()
    yield Finding("devices", True, ", ".join(["cpu", *gpus]), is_required=False)


def _tried(what: str, look: Callable[[], str], hint: str) -> Finding:
    try:
        return Finding(what, True, look())
    except ProblemError as error:
        return Finding(what, False, error.detail, error.hint or hint)
    except (OSError, SQLAlchemyError, redis.RedisError) as error:
        return Finding(what, False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", hint)
    except Exception as error:  # boto3's errors have no common root that can be named without importing it
        return Finding(what, False, f"{type(error).__name__}: {error}", hint)


def _look_at_folder(settings: Settings) -> str:
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile(dir=settings.data_dir) as file:
        file.write(PROBE)
    return str(settings.data_dir)


def _look_at_database(settings: Settings) -> str:
    database = Database(settings.database_url, pool_size=1)
    try:
        with database.read() as session:
            check(session)
            live = workers.live(session, settings)
    finally:
        database.close()
    seen = ", ".join(f"{count} on {queue}" for queue, count in sorted(live.items())) or "none"
    return f"{'SQLite' if database.is_sqlite else 'PostgreSQL'}; live workers: {seen}"


def _look_at_blobs(settings: Settings) -> str:
    """Write a small object, read it back, delete it."""
    blobs = open_blobs(settings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe"
        path.write_bytes(PROBE)
        sha256 = hashlib.sha256(PROBE).hexdigest()
        key = blob_key("prj_doctor", sha256)
        blobs.put(key, path, sha256)
        came = b"".join(blobs.read(key))
        blobs.delete(key)
    if came != PROBE:
        raise OSError("what was written did not come back")
    return f"bucket {settings.s3_bucket}" if settings.s3_bucket else "local folder"


def _look_at_broker(settings: Settings) -> str:
    with redis.Redis.from_url(settings.redis_url or "", socket_connect_timeout=3, socket_timeout=3) as client:
        client.ping()
        policy = client.config_get("maxmemory-policy").get("maxmemory-policy")
    return f"Redis, {policy}"
