"""torch.export archives: what is refused before torch's loader sees it, and what becomes a network."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from core.formats.open import open_network
from core.formats.pt2 import ALLOW
from core.formats.pt2_archive import Archive, open_archive
from modelpress.problem import ModelError, ModelNotOnnx, ModelTooLarge, ModelTruncated
from tests.core.formats.pt2_files import PROGRAM, WEIGHTS, Edit, edited, saved, write

HUGE = {"as_int": 2**40}


def rewrite(path: Path) -> Path:
    """What the loader would get to see."""
    safe = path.with_name("safe.pt2")
    with open_archive(path) as file:
        Archive(file, path.stat().st_size).write(safe)
    return safe


def refuse(path: Path, match: str, problem: type[ModelError] = ModelError) -> None:
    with pytest.raises(problem, match=match):
        rewrite(path)
    assert not path.with_name("safe.pt2").exists()


def node(program: dict[str, Any], place: int = 0) -> dict[str, Any]:
    return program["graph_module"]["graph"]["nodes"][place]


def graph(program: dict[str, Any]) -> dict[str, Any]:
    return program["graph_module"]["graph"]


def first_argument(value: dict[str, Any]) -> Edit:
    return lambda program: node(program)["inputs"][0].update(arg=value)


def expression(text: str) -> Edit:
    return lambda program: graph(program)["sym_int_values"].update(x={"as_expr": {"expr_str": text, "hint": None}})


def target(text: str) -> Edit:
    return lambda program: node(program).update(target=text)


def constraint(name: str, low: int | None = None, high: int | None = None) -> Edit:
    return lambda program: program["range_constraints"].update({name: {"min_val": low, "max_val": high}})


def structure(text: str) -> Edit:
    return lambda program: program["graph_module"]["module_call_graph"][0]["signature"].update(in_spec=text)


def meta(**values: Any) -> Edit:
    return lambda program: graph(program)["tensor_values"]["image"].update(values)


def parameter(name: str) -> Edit:
    return lambda program: program["graph_module"]["signature"]["input_specs"][0]["parameter"].update(
        parameter_name=name
    )


PROGRAMS: dict[str, tuple[Edit, str]] = {
    "a function of torch": (target("torch.load"), "calls 'torch.load'"),
    "a function of operator": (target("_operator.attrgetter"), "calls"),
    "a power, which has no bound": (target("_operator.pow"), "calls"),
    "an attribute of an operator": (target("torch.ops.aten.relu.default.__globals__"), "calls"),
    "an operator that reads files": (target("torch.ops.aten.from_file.default"), "calls"),
    "an operator that swaps memory": (target("torch.ops.aten.set_.source_Storage"), "calls"),
    "an operator that makes memory larger": (target("torch.ops.aten.resize_.default"), "calls"),
    "memory as it was found": (target("torch.ops.aten.empty.memory_format"), "calls"),
    "a sparse tensor": (target("torch.ops.aten._sparse_coo_tensor_unsafe.default"), "calls"),
    "a higher-order operator": (target("torch.ops.higher_order.cond"), "calls"),
    "an operator of somebody's": (target("torch.ops.mine.evil.default"), "calls"),
    "an extension": (target("#mine:evil"), "calls"),
    "a graph": (first_argument({"as_graph": {"name": "g", "graph": {}}}), "as_graph"),
    "an operator as argument": (first_argument({"as_operator": "torch.load"}), "as_operator"),
    "an object": (first_argument({"as_custom_obj": {"name": "x", "class_fqn": "y"}}), "as_custom_obj"),
    "a sparse layout": (first_argument({"as_layout": 1}), "sparse"),
    "two arguments in one": (first_argument({"as_int": 1, "as_none": True}), "as_int"),
    "a number as text": (first_argument({"as_int": "1"}), "not what belongs there"),
    "a truth value as number": (first_argument({"as_int": True}), "not what belongs there"),
    "code in a text": (first_argument({"as_string": "'); import os; ('"}), "argument"),
    "code in a name": (lambda program: node(program).update(name="x; import os"), "not an identifier"),
    "a keyword for a name": (lambda program: node(program).update(name="import"), "not an identifier"),
    "code in an input's name": (
        lambda program: graph(program)["inputs"].append({"as_tensor": {"name": "x=print()"}}), "not an identifier",
    ),
    "an input that is a token": (
        lambda program: program["graph_module"]["signature"]["input_specs"].append({"token": {"arg": {"name": "t"}}}),
        "token",
    ),
    "a module's own attribute": (parameter("forward.weight"), "every module has"),
    "a class's own attribute": (parameter("conv.__class__"), "identifiers"),
    "a call": (expression("__import__('os').system('id')"), "arithmetic"),
    "an attribute": (expression("Symbol('s0').func"), "arithmetic"),
    "powers of powers": (expression("9**9**9"), "arithmetic"),
    "a large power": (expression("Pow(Symbol('s0'), Integer(999999))"), "arithmetic"),
    "a power of a number": (expression("Pow(Integer(9), Integer(4))"), "arithmetic"),
    "a large number": (expression("Integer(9999999999999999)"), "arithmetic"),
    "a function of sympy": (expression("factorial(Integer(99999))"), "arithmetic"),
    "a long expression": (expression("Add(" + "Integer(1)," * 200 + ")"), "longer"),
    "a keyword in an expression": (expression("Symbol('s0', cls=Integer(1))"), "arithmetic"),
    "a symbol that is none": (constraint("x' or 1"), "symbol"),
    "a symbol to count to": (constraint("u999999999"), "symbol"),
    "a symbol with a large number": (constraint("u999999"), "symbol"),
    "bounds that cross": (constraint("s0", 9, 3), "between 9 and 3"),
    "a type of somebody's": (structure('[1, {"type": "os.system", "context": "null", "children_spec": []}]'), "tuples"),
    "a deep structure": (
        structure("[1, " + '{"type": "builtins.tuple", "context": "null", "children_spec": [' * 20 + "]}" * 20 + "]"),
        "tuples",
    ),
    "code for a key": (
        structure('[1, {"type": "builtins.dict", "context": "[\\"a b\\"]", "children_spec": '
                  '[{"type": null, "context": null, "children_spec": []}]}]'), "identifier",
    ),
    "a type of tensor that is none": (meta(dtype=99), "not what belongs there"),
    "a complex tensor": (meta(dtype=9), "dense"),
    "a sparse tensor declared": (meta(layout=2), "dense"),
    "a negative size": (meta(sizes=[{"as_int": -1}] * 4), "shape"),
    "fewer strides than sizes": (meta(strides=[]), "strides"),
    "a field that is missing": (lambda program: node(program).pop("outputs"), "no Node.outputs"),
    "another schema": (lambda program: program.update(schema_version={"major": 7, "minor": 0}), "schema 7"),
    "no call": (lambda program: program["graph_module"].update(module_call_graph=[]), "how its program is called"),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_with_what_no_network_needs_is_refused(tmp_path: Path, name: str):
    edit, match = PROGRAMS[name]
    refuse(write(tmp_path / "a.pt2", edited(edit)), match)


@pytest.mark.parametrize("size", [{"size": [HUGE]}, {"size": [{"as_int": 2**20}, {"as_int": 2**20}]}])
def test_a_tensor_made_to_an_enormous_measure_is_refused(tmp_path: Path, size: dict[str, Any]):
    def edit(program: dict[str, Any]) -> None:
        node(program)["inputs"][0].update(name="size", arg={"as_sym_ints": size["size"]})

    refuse(write(tmp_path / "a.pt2", edited(edit)), "would take", ModelTooLarge)


def test_an_enormous_declared_tensor_is_refused(tmp_path: Path):
    path = write(tmp_path / "a.pt2", edited(meta(sizes=[HUGE] * 4)))
    refuse(path, "would take", ModelTooLarge)


def payload(**values: Any) -> Edit:
    return lambda data: data["config"]["conv.weight"].update(values)


def extent(**values: Any) -> Edit:
    return lambda data: data["config"]["conv.weight"]["tensor_meta"].update(values)


def share_a_record(data: dict[str, Any]) -> None:
    data["config"]["norm.bias"]["path_name"] = data["config"]["norm.weight"]["path_name"]
    data["config"]["norm.bias"]["tensor_meta"]["dtype"] = 4


PAYLOADS: dict[str, tuple[Edit, str]] = {
    "a pickle": (payload(use_pickle=True), "pickle"),
    "no tensor": (payload(tensor_meta=None), "pickle"),
    "a way out of the archive": (payload(path_name="../../secret"), "not an identifier"),
    "another member": (payload(path_name="weight_99"), "not among"),
    "more than the record holds": (extent(sizes=[{"as_int": n} for n in (99, 3, 3, 3)]), "needs other memory"),
    "a stride out of the record": (extent(strides=[{"as_int": n} for n in (270, 9, 3, 1)]), "needs other memory"),
    "one value many times": (
        extent(sizes=[{"as_int": 2**10}] * 2, strides=[{"as_int": 0}] * 2), "needs other memory",
    ),
    "an offset out of the record": (extent(storage_offset={"as_int": 1}), "needs other memory"),
    "an offset before the record": (extent(storage_offset={"as_int": -1}), "needs other memory"),
    "a size that is computed": (
        extent(storage_offset={"as_expr": {"expr_str": "Symbol('s0')", "hint": None}}), "not made of numbers",
    ),
    "types that share a record": (share_a_record, "another type"),
}  # fmt: skip


@pytest.mark.parametrize("name", PAYLOADS)
def test_weights_that_are_not_what_the_archive_holds_are_refused(tmp_path: Path, name: str):
    edit, match = PAYLOADS[name]
    refuse(write(tmp_path / "a.pt2", edited(edit, WEIGHTS)), match)


def test_an_empty_record_is_no_tensor_of_zeros(tmp_path: Path):
    refuse(write(tmp_path / "a.pt2", {**saved(), "data/weights/weight_0": b""}), "needs other memory")


@pytest.mark.parametrize(
    "name",
    [
        "data/aotinductor/model/x.so", "data/weights/model.pt", "data/constants/model.pt",
        "data/constants/custom_obj_0", "data/constants/opaque_obj_0", "../x", "extra/../../x", "module.py",
    ],
)  # fmt: skip
def test_members_that_the_loader_would_run_or_that_are_not_known_are_refused(tmp_path: Path, name: str):
    refuse(write(tmp_path / "a.pt2", {**saved(), name: b"x"}), "not opened")


def test_a_compressed_archive_is_refused(tmp_path: Path):
    refuse(write(tmp_path / "a.pt2", compression=zipfile.ZIP_DEFLATED), "compressed")


def test_two_programs_are_refused(tmp_path: Path):
    refuse(write(tmp_path / "a.pt2", {**saved(), "models/b.json": saved()[PROGRAM]}), "2 programs")


def test_a_program_that_is_not_json_is_refused(tmp_path: Path):
    refuse(write(tmp_path / "a.pt2", {**saved(), PROGRAM: b"[" * 100_000}), "not JSON")


def test_members_larger_than_the_file_are_refused(tmp_path: Path):
    path = write(tmp_path / "a.pt2")
    with open_archive(path) as file:
        for member in file.infolist():
            member.file_size = 2**30
        with pytest.raises(ModelTooLarge, match="larger together"):
            Archive(file, path.stat().st_size)


def test_a_cut_archive_is_told(tmp_path: Path):
    path = write(tmp_path / "a.pt2")
    path.write_bytes(path.read_bytes()[:-100])
    refuse(path, "damaged", ModelTruncated)


def test_a_damaged_member_is_told(tmp_path: Path):
    path = write(tmp_path / "a.pt2")
    weight = saved()["data/weights/weight_0"]
    path.write_bytes(path.read_bytes().replace(weight, bytes(len(weight))))
    with pytest.raises(ModelTruncated, match="weight_0"):
        rewrite(path)


@pytest.mark.filterwarnings("ignore:The given buffer is not writable")  # of torch 2.11 about itself
def test_the_loader_sees_nothing_that_a_network_does_not_need(tmp_path: Path):
    def edit(program: dict[str, Any]) -> None:
        program.update(guards_code=["evil()"], verifiers=["evil"], torch_version="evil", unknown="evil")
        program["graph_module"].update(metadata={"custom": "evil"}, treespec_namedtuple_fields={})
        node(program).update(metadata={"stack_trace": "evil"})
        graph(program)["tensor_values"]["image"].update(device={"type": "evil", "index": 7})

    members = {**edited(edit), "data/sample_inputs/model.pt": b"evil", "extra/evil.txt": b"evil"}
    safe = rewrite(write(tmp_path / "a.pt2", members))
    assert b"evil" not in safe.read_bytes()
    with zipfile.ZipFile(safe) as archive:
        (samples,) = (name for name in archive.namelist() if name.endswith("sample_inputs/model.pt"))
        assert archive.read(samples) == b""
        (program,) = (name for name in archive.namelist() if name.endswith(PROGRAM))
        assert json.loads(archive.read(program))["guards_code"] == []
    assert torch.export.load(str(safe)).module()(torch.randn(3, 3, 9, 8)).shape == (3, 5)


def test_it_is_no_onnx_where_the_operator_does_not_allow_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write(tmp_path / "a.pt2")
    for value in (None, "0", ""):
        monkeypatch.setenv(ALLOW, value) if value is not None else monkeypatch.delenv(ALLOW, raising=False)
        with pytest.raises(ModelNotOnnx, match="can run code") as raised:
            open_network(path)
        assert ALLOW in raised.value.hint
        assert "client.models.upload(module, example_inputs)" in raised.value.hint


def test_it_is_opened_only_where_the_process_has_closed_itself_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(ALLOW, "1")
    with pytest.raises(ModelError, match="close itself in"):
        open_network(write(tmp_path / "a.pt2"))


def test_other_archives_are_named_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(ALLOW, "1")
    with pytest.raises(ModelNotOnnx, match="zip archive"):
        open_network(write(tmp_path / "a.pt2", {"model.onnx": b"x"}))


CLOSED_IN = """
import sys
from pathlib import Path
from core.sandbox import close_in
folder = Path(sys.argv[1])
close_in(folder)
from core.formats.open import open_network
network = open_network(folder / "model.pt2")
network.to_onnx(folder / "model.onnx")
print(network.notes)
"""


def test_a_network_comes_through_in_a_process_that_has_closed_itself_in(tmp_path: Path):
    write(tmp_path / "model.pt2")
    environment = {**os.environ, ALLOW: "1", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", CLOSED_IN, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert "random values and other sizes" in ended.stdout
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    image = torch.randn(3, 3, 9, 8)
    came = np.asarray(session.run(None, {"image": image.numpy()})[0])
    with torch.no_grad():
        expected = torch.export.load(str(tmp_path / "model.pt2")).module()(image).numpy()
    assert np.ptp(expected, axis=0).max() > 1e-3  # it varies with the input
    np.testing.assert_allclose(came, expected, rtol=1e-4, atol=1e-5)
