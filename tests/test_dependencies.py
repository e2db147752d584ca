"""What our code imports is what the two distributions ask for."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "sdk": ["sdk/modelpress"],
    "server": ["core", "store", "api", "worker", "server", "migrations"],
    "test": ["tests", "demo", "bench"],
    "exported": ["bench/exported"],
}
# Run in environments of their own.
APART = {ROOT / "bench/exported"}
OURS = {"modelpress", "core", "store", "api", "worker", "server", "migrations", "recipes", "tests", "demo", "bench"}
# Imported by name of a driver, or by what we call, never by ourselves.
IMPORTED_BY_OTHERS = {"psycopg", "redis", "onnxscript", "httptools", "uvloop"}
# Imported only where the user has it already: a module of theirs is exported on their own machine.
BROUGHT_BY_THE_USER = {"torch", "numpy", "onnx"}
# Part of what another distribution offers its users, and pinned by it.
COMPANION_OF = {
    "annotated-types": "pydantic",
    "botocore": "boto3",
    "grimp": "import-linter",
    "kombu": "celery",
    "packaging": "pytest",
    "protobuf": "onnx",
    "pydantic-core": "pydantic",
    "scipy": "scikit-learn",
    "setuptools": "torch",
    "starlette": "fastapi",
}


def asked_for(folder: Path, extra: str | None = None) -> set[str]:
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return {canonicalize_name(Requirement(line).name) for line in lines}


SDK = asked_for(ROOT / "sdk")
SERVER = asked_for(ROOT)
TEST = asked_for(ROOT, "test")


def imported(part: str) -> Iterator[tuple[str, Path]]:
    for folder in (ROOT / name for name in FOLDERS[part]):
        for path in folder.rglob("*.py"):
            if folder not in APART and not APART.isdisjoint(path.parents):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    yield from ((alias.name.partition(".")[0], path) for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    yield node.module.partition(".")[0], path


def distributions(part: str) -> dict[str, Path]:
    """The third-party distributions that the code of `part` imports, each with one place where it does."""
    known = packages_distributions()
    found = {name: path for name, path in imported(part) if name not in OURS and name not in sys.stdlib_module_names}
    named = {canonicalize_name(known.get(name, [name])[0]): path for name, path in found.items()}
    return {COMPANION_OF.get(name, name): path for name, path in named.items()}


@pytest.mark.parametrize(
    ("part", "allowed"),
    [
        ("sdk", SDK | BROUGHT_BY_THE_USER),
        ("server", SDK | SERVER),
        ("test", SDK | SERVER | TEST),
        ("exported", SERVER | {"timm", "torchvision", "transformers"}),
    ],
)
def test_whatever_is_imported_is_asked_for(part: str, allowed: set[str]):
    assert {name: str(path) for name, path in distributions(part).items() if name not in allowed} == {}


def test_whatever_the_distributions_ask_for_is_imported():
    used = set(distributions("sdk")) | set(distributions("server"))
    assert (SDK | SERVER) - used - IMPORTED_BY_OTHERS - {"modelpress"} == set()
