"""API keys: `mp_<environment>_<id>_<secret>_<checksum>`. Only a hash is stored; the key itself is shown once."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from zlib import crc32

from sqlalchemy import update
from sqlalchemy.orm import Session

from modelpress.problem import Unauthorised
from store.database import now
from store.ids import new_id
from store.settings import Settings
from store.tables import ApiKey, Project

SCOPES = ("read", "write", "admin")
"""`read` sees, `write` creates and cancels, `admin` makes keys; each includes those before it."""

_SHAPE = re.compile(
    r"(?P<body>mp_[a-z0-9]{1,8}_(?P<id>[0-9a-z]{26})_(?P<secret>[0-9a-f]{40}))_(?P<checksum>[0-9a-f]{8})"
)
_USED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Caller:
    """Who is asking."""

    project: Project
    key_id: str
    scopes: frozenset[str]
    is_use_unnoted: bool = False
    """Whether it is time to `note_use`."""


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
    shaped = _SHAPE.fullmatch(text)
    if shaped is None or _checksum(shaped["body"]) != shaped["checksum"]:
        raise Unauthorised("this is not an API key of ours, or it was copied in part")
    key = session.get(ApiKey, f"key_{shaped['id']}")
    moment = now(session)
    if key is None or not hmac.compare_digest(key.hash, _hash(settings, shaped["secret"])):
        raise Unauthorised("this API key is not known")
    if key.revoked_at is not None:
        raise Unauthorised("this API key was revoked")
    if key.expires_at is not None and key.expires_at <= moment:
        raise Unauthorised("this API key has expired", hint="Make a new one with `modelpress-server keys create`.")
    unnoted = key.last_used_at is None or key.last_used_at < moment - _USED_EVERY
    return Caller(session.get_one(Project, key.project_id), key.id, frozenset(key.scopes), unnoted)


def note_use(session: Session, key_id: str) -> None:
    """Remember when the key was used last."""
    session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=now(session)))


def _hash(settings: Settings, secret: str) -> str:
    pepper = settings.key_pepper.get_secret_value().encode()
    return hmac.new(pepper or b"modelpress", secret.encode(), hashlib.sha256).hexdigest()


def _checksum(body: str) -> str:
    """Tells a mistyped key from an unknown one without asking the database."""
    return f"{crc32(body.encode()):08x}"
