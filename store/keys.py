"""API keys: `mp_<environment>_<id>_<secret>_<checksum>`. Only a hash is stored; the key itself is shown once."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from zlib import crc32

from sqlalchemy.orm import Session

from modelpress.problem import Unauthorised
from store.database import now
from store.ids import new_id
from store.settings import Settings
from store.tables import ApiKey, Project

SCOPES = ("read", "write", "admin")
"""`read` sees, `write` creates and cancels, `admin` makes keys; each includes those before it."""

_USED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Caller:
    """Who is asking."""

    project: Project
    key_id: str
    scopes: frozenset[str]


def issue(
    session: Session,
    settings: Settings,
    project_id: str,
    name: str,
    scope: str = "admin",
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its text, which can't be had again."""
    key_id, secret = new_id("key"), secrets.token_hex(20)
    row = ApiKey(
        id=key_id,
        project_id=project_id,
        name=name,
        hash=_hash(settings, secret),
        scopes=list(SCOPES[: SCOPES.index(scope) + 1]),
        created_at=now(session),
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    body = f"mp_{settings.environment}_{key_id.removeprefix('key_')}_{secret}"
    return row, f"{body}_{_checksum(body)}"


def check(session: Session, settings: Settings, text: str) -> Caller:
    """Whose key this is; raises Unauthorised."""
    parts = text.split("_")
    if (
        len(parts) != 5
        or parts[0] != "mp"
        or not hmac.compare_digest(_checksum("_".join(parts[:4])), parts[4].encode().decode("latin-1"))
    ):
        raise Unauthorised("this is not an API key of ours, or it was copied in part")
    key = session.get(ApiKey, f"key_{parts[2]}")
    moment = now(session)
    if key is None or not hmac.compare_digest(key.hash, _hash(settings, parts[3])):
        raise Unauthorised("this API key is not known")
    if key.revoked_at is not None:
        raise Unauthorised("this API key was revoked")
    if key.expires_at is not None and key.expires_at <= moment:
        raise Unauthorised("this API key has expired", hint="Make a new one with `modelpress-server keys create`.")
    return Caller(session.get_one(Project, key.project_id), key.id, frozenset(key.scopes))


def note_use(session: Session, key_id: str) -> None:
    """Remember that the key was used, to the minute."""
    key, moment = session.get_one(ApiKey, key_id), now(session)
    if key.last_used_at is None or key.last_used_at < moment - _USED_EVERY:
        key.last_used_at = moment


def _hash(settings: Settings, secret: str) -> str:
    pepper = settings.key_pepper.get_secret_value().encode()
    return hmac.new(pepper or b"modelpress", secret.encode(), hashlib.sha256).hexdigest()


def _checksum(body: str) -> str:
    """Tells a mistyped key from an unknown one without asking the database."""
    return f"{crc32(body.encode()):08x}"
