"""The direction of imports: the contracts stand in pyproject.toml, where `make check` reads them too."""

import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("modelpress", "core", "store", "api", "worker", "server", "migrations")


def test_every_contract_is_kept():
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_package_is_left_out_of_the_contracts():
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    found = configured["setuptools"]["packages"]["find"]["include"]
    ours = {name.rstrip("*") for name in found if name != "recipes*"} | {"modelpress"}
    assert set(configured["importlinter"]["root_packages"]) == ours == set(PACKAGES)


# The contracts again, by hand: a contract that names a wrong module would pass in silence.
ALLOWED = {
    "modelpress": set(),
    "core": {"modelpress"},
    "store": {"modelpress", "migrations"},
    "migrations": {"modelpress", "store"},
    "api": {"modelpress", "store"},
    "worker": {"modelpress", "store"},
    "server": {"modelpress", "store", "api", "worker"},
}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, cache_dir=None)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_stands_below_it(graph: grimp.ImportGraph, package: str):
    imported = {
        target.partition(".")[0]
        for module in {package, *graph.find_descendants(package)}
        for target in graph.find_modules_directly_imported_by(module)
    }
    assert imported - {package} <= ALLOWED[package]
