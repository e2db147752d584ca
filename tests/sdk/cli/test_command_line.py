"""The command line as a program: what it loads, what it says, how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import modelpress
from modelpress.cli import exits
from modelpress.cli.main import run
from modelpress.problem import Category
from modelpress.steps import ALL, name_of

COMMANDS = ("run", "inspect", "techniques", "upload", "submit", "watch", "jobs", "cancel", "download")


@pytest.fixture(autouse=True)
def no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No service of this machine's is found by chance."""
    monkeypatch.setenv("MODELPRESS_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.delenv("MODELPRESS_URL", raising=False)


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_is_given_with_the_exit_codes(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    assert run(arguments) == 0
    assert "Exit codes" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]], ids=" ".join)
def test_help_loads_neither_the_client_nor_the_steps_nor_torch(arguments: list[str]):
    program = (
        "import sys\nfrom modelpress.cli.main import run\nrun(sys.argv[1:])\n"
        "heavy = {'httpx', 'torch', 'numpy', 'yaml', 'modelpress.steps', 'modelpress.client'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout


def test_every_category_of_problem_has_an_exit_code_of_its_own_and_help_tells_it():
    codes = exits.BY_CATEGORY
    assert set(codes) == set(Category.__args__)
    assert len({*codes.values(), exits.SUCCESS, exits.BUG, exits.INTERRUPTED}) == len(codes) + 3
    assert all(f"{code} " in exits.DESCRIPTION for code in (*codes.values(), exits.BUG, exits.INTERRUPTED))


FAILURES = [
    pytest.param(["frobnicate"], 2, "usage", id="unknown command"),
    pytest.param(["run", "int8"], 2, "usage", id="missing argument"),
    pytest.param(["jobs", "--limit", "many"], 2, "usage", id="wrong option"),
    pytest.param(["jobs"], 2, "no_service", id="no service"),
    pytest.param(["run", "no_such", "m.onnx", "--out", "o"], 2, "recipe_invalid", id="unknown recipe"),
    pytest.param(["run", "none.yaml", "m.onnx", "--out", "o"], 2, "recipe_invalid", id="missing recipe"),
    pytest.param(
        ["run", "[{technique: recover, epochs: -1}]", "m.onnx", "--out", "o"], 2, "recipe_invalid", id="bad recipe"
    ),
    pytest.param(["run", "[]", "none.onnx", "--out", "o"], 2, "file_unreadable", id="missing model"),
    pytest.param(["run", "[]", "m", "--out", "o", "--train", "d.csv"], 2, "data_invalid", id="unknown format"),
    pytest.param(["run", "[]", "m", "--out", "o", "--device", "tpu"], 2, "request_invalid", id="unknown device"),
    pytest.param(["run", "[]", "m", "--out", "o", "--task", "guess"], 2, "request_invalid", id="unknown task"),
    pytest.param(["inspect", "."], 2, "file_unreadable", id="a folder"),
    pytest.param(["techniques", "magic"], 2, "not_found", id="unknown technique"),
]


@pytest.mark.parametrize("arguments, exit_code, code", FAILURES)
def test_a_failure_is_a_problem_on_stderr(
    arguments: list[str], exit_code: int, code: str, capsys: pytest.CaptureFixture[str]
):
    assert run(arguments) == exit_code
    said = capsys.readouterr()
    assert f"code: {code}" in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


@pytest.mark.parametrize("arguments, exit_code, code", FAILURES)
def test_with_json_a_failure_is_a_problem_on_stdout(
    arguments: list[str], exit_code: int, code: str, capsys: pytest.CaptureFixture[str]
):
    assert run([*arguments, "--json"]) == exit_code
    problem = json.loads(capsys.readouterr().out)
    assert problem["code"] == code
    assert problem["detail"]


def test_nothing_is_written_where_a_run_fails(tmp_path: Path):
    run(["run", "[]", str(tmp_path / "none.onnx"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_techniques_are_listed_and_described(capsys: pytest.CaptureFixture[str]):
    assert run(["techniques", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [technique["name"] for technique in listed] == [name_of(cls) for cls in ALL]
    assert run(["techniques", "prune.filters"]) == 0
    assert "criterion" in capsys.readouterr().out


def test_a_service_that_is_away_is_an_infrastructure_problem(monkeypatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("MODELPRESS_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("MODELPRESS_API_KEY", "k")
    assert run(["jobs", "--json"]) == 7
    problem = json.loads(capsys.readouterr().out)
    assert problem["code"] == "unreachable"
    assert "modelpress-server up" in problem["hint"]


@pytest.fixture(scope="module")
def sdk_alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the SDK is installed without `modelpress-server`, torch and onnx."""
    folder = tmp_path_factory.mktemp("site")
    for entry in next(Path(path) for path in sys.path if path.endswith("site-packages")).iterdir():
        if not entry.name.startswith(("modelpress_server", "torch", "onnx", "numpy")):
            (folder / entry.name).symlink_to(entry)
    source = Path(modelpress.__file__).parents[1]
    return {"PYTHONPATH": f"{folder}{os.pathsep}{source}", "PATH": os.environ["PATH"], "HOME": str(folder)}


@pytest.mark.parametrize("arguments", [["run", "int8", "m.onnx", "--out", "o"], ["inspect", "m.onnx"]], ids=" ".join)
def test_without_the_server_it_says_how_to_get_it(sdk_alone: dict[str, str], tmp_path: Path, arguments: list[str]):
    command = [sys.executable, "-S", "-P", "-c", "from modelpress.cli import main; main()", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=sdk_alone, cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert "server_missing" in done.stderr
    assert "pip install modelpress-server" in done.stderr


def test_the_sdk_alone_knows_techniques_and_clients(sdk_alone: dict[str, str], tmp_path: Path):
    program = "import modelpress; from modelpress.cli import main; modelpress.Client, modelpress.AsyncClient; main()"
    command = [sys.executable, "-S", "-P", "-c", program, "techniques"]
    done = subprocess.run(command, capture_output=True, text=True, env=sdk_alone, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "quantize.int8" in done.stdout
