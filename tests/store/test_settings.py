"""Settings, ids, keys and logs: the small things everything leans on."""

import json
import logging
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from modelpress.problem import Unauthorised
from store import keys
from store.database import now
from store.ids import is_id, new_id
from store.logging import configure, redact
from store.settings import Settings
from store.types import clean_json
from tests.store.conftest import Store

# -- settings -----------------------------------------------------------------------------------------------


def test_with_nothing_set_the_service_is_embedded_in_the_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    found = Settings()
    assert found.is_embedded
    assert found.database_url == f"sqlite:///{tmp_path}/.modelpress/modelpress.db"
    assert found.owner_database_url == found.database_url
    assert found.key_file == tmp_path / ".modelpress" / "key"


def test_settings_come_from_the_environment_and_secrets_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "modelpress_s3_secret_key").write_text("hush\n")
    monkeypatch.setenv("MODELPRESS_LEASE_SECONDS", "90")
    monkeypatch.setenv("MODELPRESS_SECRETS_DIR", str(tmp_path))
    found = Settings()
    assert found.lease_seconds == 90.0
    assert found.s3_secret_key is not None
    assert found.s3_secret_key.get_secret_value() == "hush"
    assert "hush" not in repr(found)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"redis_url": "redis://localhost"}, "MODELPRESS_S3_BUCKET"),
        ({"lease_seconds": 10, "beat_seconds": 5}, "three times"),
        ({"part_bytes": 1}, "greater than or equal"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, object], said: str):
    with pytest.raises(ValidationError, match=said):
        Settings.model_validate(fields)


# -- ids and types ------------------------------------------------------------------------------------------


def test_ids_sort_by_the_time_they_were_made():
    made = [new_id("job") for _ in range(1000)]
    assert made == sorted(made)
    assert len(set(made)) == 1000
    assert all(is_id(each, "job") for each in made)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("job_" + "0" * 26, True), ("mdl_" + "0" * 26, False), ("job_", False), ("job_" + "u" * 26, False), ("", False)],
)
def test_ids_are_told_from_other_text(text: str, is_one: bool):
    assert is_id(text, "job") is is_one


_LEAVES = st.none() | st.booleans() | st.floats() | st.text(st.characters(), max_size=5)


@settings(max_examples=50)
@given(st.recursive(_LEAVES, lambda each: st.lists(each) | st.dictionaries(st.text(max_size=3), each), max_leaves=6))
def test_cleaned_json_is_json_that_postgres_takes(value: object):
    text = json.dumps(clean_json(value), allow_nan=False, ensure_ascii=False)
    assert "\\u0000" not in text
    text.encode("utf-8")


# -- keys ---------------------------------------------------------------------------------------------------


def issued(store: Store, **fields: object) -> str:
    with store.database.write() as session:
        return keys.issue(session, store.settings, store.project.id, "k", **fields)[1]  # type: ignore[arg-type]


def checked(store: Store, text: str) -> keys.Caller:
    with store.database.read() as session:
        return keys.check(session, store.settings, text)


def test_a_key_names_its_project_and_scopes_and_is_not_stored(store: Store):
    text = issued(store, scope="write")
    caller = checked(store, text)
    assert caller.project.id == store.project.id
    assert caller.scopes == {"read", "write"}
    secret = text.split("_")[3]
    with store.database.read() as session:
        row = session.get_one(keys.ApiKey, caller.key_id)
        assert secret not in json.dumps(
            {column.name: str(getattr(row, column.name)) for column in row.__table__.columns}
        )


@pytest.mark.parametrize(
    "damage", [lambda t: t[:-1] + "x", lambda t: t.replace("mp_dev", "mp_live"), lambda t: "", lambda t: t + "a"]
)
def test_a_damaged_key_is_refused_before_the_database_is_asked(store: Store, damage):
    with pytest.raises(Unauthorised, match="not an API key"):
        checked(store, damage(issued(store)))


def test_a_key_with_another_secret_is_not_known(store: Store):
    mine = issued(store).rsplit("_", 1)[0]
    forged = mine[:-40] + "0" * 40
    with pytest.raises(Unauthorised, match="not known"):
        checked(store, f"{forged}_{keys._checksum(forged)}")


def test_expired_and_revoked_keys_stop_working(store: Store):
    with store.database.read() as session:
        past = now(session) - timedelta(seconds=1)
    with pytest.raises(Unauthorised, match="expired"):
        checked(store, issued(store, expires_at=past))
    text = issued(store)
    with store.database.write() as session:
        session.get_one(keys.ApiKey, checked(store, text).key_id).revoked_at = past
    with pytest.raises(Unauthorised, match="revoked"):
        checked(store, text)


# -- logs ---------------------------------------------------------------------------------------------------


def test_logs_carry_no_signatures_keys_or_passwords(store: Store, capsys: pytest.CaptureFixture[str]):
    text = issued(store)
    url = "https://s3/b/k?X-Amz-Algorithm=AWS4&X-Amz-Signature=abc123&X-Amz-Credential=AK%2F1"
    said = redact(f"{text} {url} postgresql://app:hunter2@db/x")
    assert text.split("_")[3] not in said
    assert "abc123" not in said
    assert "hunter2" not in said
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    configure()
    try:
        structlog.get_logger("test").info("fetched", url=url, job_id="job_1")
        logging.getLogger("library").warning("GET %s", url)
        logging.getLogger("httpx").info("HTTP Request: GET %s", url)
    finally:
        root.handlers[:], root.level = before
        structlog.reset_defaults()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["fetched", redact(f"GET {url}")]
    assert lines[0]["job_id"] == "job_1"
    assert "abc123" not in json.dumps(lines)
