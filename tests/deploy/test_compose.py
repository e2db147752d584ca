"""The compose file, checked as far as a file can be without an engine."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from store.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("modelpress:")}


def server_help(*command: str) -> str:
    environment = os.environ | {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
    binary = Path(sys.prefix) / "bin" / "modelpress-server"
    done = subprocess.run([binary, *command, "--help"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def parts_of(value: Any) -> list[str]:
    """Every scalar in a piece of the file, as text."""
    if isinstance(value, dict):
        return [part for key, inner in value.items() for part in (str(key), *parts_of(inner))]
    if isinstance(value, list):
        return [part for inner in value for part in parts_of(inner)]
    return [str(value)]


def test_the_stack_has_all_its_parts():
    assert set(OURS) == {"api", "keeper", "worker-cpu", "worker-gpu", "migrate"}
    assert set(SERVICES) - set(OURS) == {"postgres", "redis", "s3"}
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]


@pytest.mark.parametrize("name", OURS)
def test_modelpress_server_knows_the_command_and_its_options(name: str):
    command, *rest = OURS[name]["command"]
    options = {part for part in rest if part.startswith("--")}
    assert options <= set(re.findall(r"--[a-z-]+", server_help(command)))


@pytest.mark.parametrize("name", OURS)
def test_modelpress_server_knows_the_health_check(name: str):
    test = OURS[name].get("healthcheck", {}).get("test", [])
    if "modelpress-server" in test:
        server_help(test[test.index("modelpress-server") + 1])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_unprivileged_on_a_read_only_root(name: str):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].split(":")[0] not in ("0", "root")
    assert "privileged" not in service
    assert "cap_add" not in service


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_a_service_that_stays_up_says_whether_it_is_healthy(name: str):
    assert {"test", "interval", "timeout", "retries"} <= set(SERVICES[name]["healthcheck"])


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_can_come_true(name: str):
    for other, condition in SERVICES[name].get("depends_on", {}).items():
        wanted = condition["condition"]
        assert wanted in ("service_healthy", "service_completed_successfully")
        assert ("healthcheck" in SERVICES[other]) == (wanted == "service_healthy")


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "ports" in service])
def test_what_is_published_is_published_on_loopback_unless_asked(name: str):
    assert name in ("api", "s3")
    assert all(port.startswith("${MODELPRESS_BIND:-127.0.0.1}:") for port in SERVICES[name]["ports"])
    assert "outer" in SERVICES[name]["networks"]


@pytest.mark.parametrize("name", ["postgres", "redis", "worker-cpu", "worker-gpu", "migrate"])
def test_what_needs_nothing_from_outside_reaches_nothing_outside(name: str):
    assert SERVICES[name]["networks"] == ["inner"]
    assert COMPOSE["networks"]["inner"] == {"internal": True}


def test_images_are_pinned_to_a_version():
    for service in SERVICES.values():
        assert re.search(r":[\w.-]+$", service["image"])
        assert not service["image"].endswith(":latest")


def test_every_named_volume_network_and_mounted_file_exists():
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert (ROOT / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"]
        assert set(service["networks"]) <= set(COMPOSE["networks"])


def test_settings_in_the_environment_and_in_secrets_are_settings():
    known = set(Settings.model_fields) | {"secrets_dir"}
    environment = {key for service in OURS.values() for key in service["environment"] if key != "HOME"}
    secrets = {secret for service in OURS.values() for secret in service["secrets"]}
    assert {name.lower().removeprefix("modelpress_") for name in environment | secrets} <= known


def test_no_secret_stands_in_the_environment_or_a_command():
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            assert (
                key.endswith("_FILE")
                or not re.search(r"PASSWORD|SECRET_KEY|ACCESS_KEY|PEPPER|_URL$", key)
                or (key == "MODELPRESS_PUBLIC_URL")
            ), (key, value)
        assert not any(re.search(r"://[^/]*:[^/]*@|requirepass|--password", part) for part in parts_of(service))


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of deploy/ whose secrets are made."""
    copy = tmp_path_factory.mktemp("copy") / "deploy"
    copy.mkdir()
    script = copy / "make-secrets.sh"
    script.write_text((ROOT / "deploy" / "make-secrets.sh").read_text())
    subprocess.run(["sh", script], check=True, capture_output=True)
    return copy


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_the_script_makes_the_secrets_that_the_stack_names_and_each_is_used(deploy: Path):
    named = {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert set(contents(deploy / "secrets")) == named == set(COMPOSE["secrets"]) == used


def test_the_secrets_are_shut_in_and_stay_the_same_when_made_again(deploy: Path):
    before = contents(deploy / "secrets")
    subprocess.run(["sh", deploy / "make-secrets.sh"], check=True, capture_output=True)
    assert contents(deploy / "secrets") == before
    assert stat.S_IMODE((deploy / "secrets").stat().st_mode) == 0o700


def test_secrets_are_long_and_differ(deploy: Path):
    made = contents(deploy / "secrets")
    plain = [made[name] for name in ("postgres_password", "owner_password", "app_password", "modelpress_key_pepper")]
    assert len(set(plain)) == 4
    assert all(re.fullmatch(r"[0-9a-f]{48}", secret) for secret in plain)


def test_the_service_reads_its_settings_from_the_secrets(deploy: Path):
    environment = {key: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for key, value in OURS["api"]["environment"].items()}
    environment |= {"MODELPRESS_SECRETS_DIR": str(deploy / "secrets"), "PATH": os.environ["PATH"]}
    program = (
        "import json; from store.settings import Settings; settings = Settings()\n"
        "read = settings.model_dump(mode='json') | {'s3_secret_key': settings.s3_secret_key.get_secret_value()}\n"
        "print(json.dumps(read))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read, made = json.loads(done.stdout), contents(deploy / "secrets")
    for name in ("database_url", "owner_database_url", "redis_url", "s3_access_key", "s3_secret_key"):
        assert read[name] == made[f"modelpress_{name}"]
    assert read["s3_endpoint"] != read["s3_public_endpoint"]
