"""What stands at the root: one place for each version, and files that agree with each other."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
OURS = {"modelpress", "modelpress-server"}


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def requirements() -> list[Requirement]:
    server, sdk = project(ROOT), project(ROOT / "sdk")
    lines = [*server["dependencies"], *sdk["dependencies"], *server["optional-dependencies"]["test"]]
    return [requirement for line in lines if (requirement := Requirement(line)).name not in OURS]


def pins() -> dict[str, Version]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.!]+", line) for line in lines), "a pin is a name and a version, no place"
    return {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in lines)}


@pytest.mark.parametrize("requirement", requirements(), ids=lambda requirement: requirement.name)
def test_every_requirement_is_pinned_to_a_version_it_admits(requirement: Requirement):
    assert pins()[canonicalize_name(requirement.name)] in requirement.specifier


def test_torch_is_pinned_without_a_build():
    assert pins()["torch"].local is None


def test_the_two_distributions_have_one_version():
    version = project(ROOT)["version"]
    assert project(ROOT / "sdk")["version"] == version
    assert f"modelpress=={version}" in project(ROOT)["dependencies"]


def test_the_client_alone_installs_without_torch_or_the_server():
    names = {Requirement(line).name for line in project(ROOT / "sdk")["dependencies"]}
    assert names == {"httpx", "pydantic", "pyyaml", "rich", "typer"}


@pytest.mark.parametrize("target", ["setup", "demo", "up", "test", "test-slow", "check", "bench", "clean"])
def test_make_knows_the_target(target: str):
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_setting_up_again_does_nothing_when_nothing_changed(tmp_path: Path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / "sdk").mkdir()
    (tmp_path / "sdk" / "pyproject.toml").write_text("")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".installed").write_text("")
    assert made(tmp_path) == ""
    (tmp_path / ".venv" / ".installed").unlink()
    assert "pip install" in made(tmp_path)


def made(folder: Path) -> str:
    command = ["make", "--dry-run", "--silent", "setup"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_the_readme_opens_with_the_prerequisites_and_then_the_two_commands():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert all(word in lines[0] for word in ("make", "Python", "venv"))
    assert [line.split("#")[0].strip() for line in lines[2:4]] == ["make demo", "make test"]
