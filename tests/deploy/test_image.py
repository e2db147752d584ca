"""The Dockerfile, and what goes into the distribution it installs."""

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import setuptools

ROOT = Path(__file__).parents[2]
INSTRUCTIONS = [
    match.groups()
    for line in (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    if (match := re.match(r"([A-Z]+) +(.+)", line))
]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
PACKAGES = setuptools.find_packages(str(ROOT), include=SETUPTOOLS["packages"]["find"]["include"])


def values(instruction: str) -> list[str]:
    return [value for name, value in INSTRUCTIONS if name == instruction]


def test_the_image_runs_as_a_user_without_rights():
    stages = [index for index, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM"]
    user = [index for index, (name, _) in enumerate(INSTRUCTIONS) if name == "USER"]
    assert len(user) == 1
    assert user[0] > stages[-1]
    assert values("USER") == ["10001:10001"]


def test_base_images_are_pinned_to_a_version():
    assert all(re.match(r"python:3\.\d+-slim-\w+", base) for base in values("FROM"))


def test_nothing_secret_is_copied_or_set():
    assert not re.search(r"(?i)secret|password|pepper|_url\b", " ".join(values("COPY") + values("ENV") + values("ARG")))
    assert "." not in {source for copied in values("COPY") for source in copied.split()[:-1]}


def test_the_build_is_given_what_it_copies_and_nothing_else():
    copied = {source for line in values("COPY") if "--from" not in line for source in line.split()[:-1]}
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignore[0] == "*"
    assert {line[1:] for line in ignore if line.startswith("!")} == copied


def test_the_image_holds_every_package_of_the_distribution():
    copied = {source for line in values("COPY") for source in line.split()[:-1]}
    assert {package.split(".")[0] for package in PACKAGES} <= copied


def test_every_module_and_data_file_of_ours_is_in_the_distribution():
    patterns = ["*.py", *SETUPTOOLS["package-data"]["*"]]
    for top in {package.split(".")[0] for package in PACKAGES}:
        for path in (ROOT / top).rglob("*"):
            if path.is_dir() or "__pycache__" in path.parts:
                continue
            package = ".".join(path.parent.relative_to(ROOT).parts)
            assert package in PACKAGES, f"{path} stands in a folder without __init__.py"
            assert any(fnmatch(path.name, pattern) for pattern in patterns), f"{path} is not installed"
