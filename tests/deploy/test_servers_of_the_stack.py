"""What the stack mounts into PostgreSQL and Redis does its work on the real servers."""

import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from tests.servers.postgres import installed_postgres, own_postgres, wheel_postgres
from tests.servers.private import serving
from tests.servers.redis import installed_redis, wheel_redis
from tests.servers.ways import Unavailable

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_owner_makes_tables_and_the_app_uses_them_and_nobody_else_gets_in(tmp_path: Path):
    for role in ("owner", "app"):
        (tmp_path / f"{role}_password").write_text(f"the '{role}' password")
    with own_postgres() as url, psycopg.connect(url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE modelpress")
        admin.execute("CREATE ROLE stranger LOGIN")
        make_roles(url, tmp_path)
        base = url.removesuffix("/postgres").replace("postgres@", "{}@")
        with psycopg.connect(base.format("modelpress_owner") + "/modelpress") as owner:
            owner.execute("CREATE TABLE jobs (id serial PRIMARY KEY)")
        with psycopg.connect(base.format("modelpress_app") + "/modelpress", autocommit=True) as app:
            app.execute("INSERT INTO jobs DEFAULT VALUES")
            for forbidden in ("CREATE TABLE other (id int)", "ALTER TABLE jobs ADD x int", "TRUNCATE jobs"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    app.execute(forbidden)
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            psycopg.connect(base.format("stranger") + "/modelpress")
        superusers = admin.execute("SELECT rolname FROM pg_roles WHERE rolsuper").fetchall()
        assert superusers == [("postgres",)]


def make_roles(url: str, secrets: Path) -> None:
    address = urlsplit(url)
    environment = os.environ | {
        "PATH": f"{psql_folder()}:{os.environ['PATH']}",
        "PGHOST": str(address.hostname),
        "PGPORT": str(address.port),
        "POSTGRES_DB": "modelpress",
        "SECRETS_DIR": str(secrets),
    }
    command = ["bash", str(DEPLOY / "postgres" / "roles.sh")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def psql_folder() -> Path:
    try:
        return installed_postgres()
    except Unavailable:
        return wheel_postgres()


def test_redis_takes_the_configuration_wants_the_password_and_evicts_nothing():
    try:
        binary = installed_redis()
    except Unavailable:
        binary = wheel_redis()

    def prepare(folder: Path, port: int, user: int | None) -> list[str]:
        (folder / "redis_auth").write_text("requirepass the-password")
        text = (DEPLOY / "redis" / "redis.conf").read_text()
        replaced = {"/run/secrets": str(folder), "dir /data": f"dir {folder}", "port 6379": f"port {port}"}
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        (folder / "redis.conf").write_text(text)
        return [str(binary), str(folder / "redis.conf")]

    def answers(port: int) -> bool:
        with redis.Redis(port=port, password="the-password") as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    with serving(prepare, answers) as port:
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        with redis.Redis(port=port, password="the-password", decode_responses=True) as client:
            kept = client.config_get("maxmemory-policy") | client.config_get("appendonly")
    assert kept == {"maxmemory-policy": "noeviction", "appendonly": "yes"}
