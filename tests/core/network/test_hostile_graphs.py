"""Graphs made to hurt or merely odd: each is told by a coded problem that names the place, or it works."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from core.inspecting import inspect
from core.network import Network, limits
from core.network.channels import analyse
from core.network.limits import MAX_OPERANDS, MAX_TENSORS
from core.network.read import read_model
from core.network.wire import delimited
from modelpress.problem import ModelCycle, ModelError, ModelTooLarge, ModelTruncated, OutOfTime
from tests.core.network.models import random, run_onnx

ROOT = Path(__file__).parents[3]


def value(name: str, *shape: int | str, kind: int = TensorProto.FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


def constant(name: str, array: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(array, name)


def node(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> NodeProto:
    return helper.make_node(op, inputs, outputs, **attributes)


def model(
    nodes: list[NodeProto],
    constants: list[TensorProto] | None = None,
    functions: list[FunctionProto] | None = None,
    inputs: list[ValueInfoProto] | None = None,
    outputs: list[ValueInfoProto] | None = None,
) -> ModelProto:
    """Takes `x` (2, 3) and gives `y` (2, 3), unless it is said otherwise."""
    graph = helper.make_graph(nodes, "g", inputs or [value("x", 2, 3)], outputs or [value("y", 2, 3)], constants or [])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions or [])


def function(name: str, *nodes: NodeProto, domain: str = "my") -> FunctionProto:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    return helper.make_function(domain, name, ["a"], ["b"], list(nodes), opsets)


def call(name: str, source: str = "x", target: str = "y") -> NodeProto:
    return node(name, [source], [target], domain="my")


def changed(model: ModelProto, change: Callable[[GraphProto], object]) -> ModelProto:
    change(model.graph)
    return model


def plain() -> ModelProto:
    return model([node("Add", ["x", "c"], ["y"], name="adder")], [constant("c", random(3))])


def constant_where(change: Callable[[TensorProto], object]) -> ModelProto:
    return changed(plain(), lambda graph: change(graph.initializer[0]))


def branch(*nodes: NodeProto) -> ModelProto:
    inner = helper.make_graph(list(nodes), "inner", [], [value("o", 2, 3)])
    both = node("If", ["c"], ["y"], then_branch=inner, else_branch=inner, name="choice")
    return model([both], inputs=[value("x", 2, 3), value("c", kind=TensorProto.BOOL)])


def reference() -> NodeProto:
    leaky = node("LeakyRelu", ["x"], ["y"], name="leaky")
    leaky.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    return leaky


def doubling(depth: int) -> list[FunctionProto]:
    """Functions that unfold to 2^depth nodes."""
    rest = [function(f"F{k}", call(f"F{k + 1}", "a", "t"), call(f"F{k + 1}", "t", "b")) for k in range(depth)]
    return [*rest, function(f"F{depth}", node("Relu", ["a"], ["b"]))]


def nested(depth: int) -> list[FunctionProto]:
    return [*(function(f"F{k}", call(f"F{k + 1}", "a", "b")) for k in range(depth)), doubling(0)[0]]


TOLD: dict[str, tuple[Callable[[], ModelProto], type[ModelError], str]] = {
    "two initialisers of a name": (
        lambda: changed(plain(), lambda g: g.initializer.append(g.initializer[0])),
        ModelError,
        "initialisers.*'c'",
    ),
    "two inputs of a name": (lambda: changed(plain(), lambda g: g.input.append(g.input[0])), ModelError, "inputs.*'x'"),
    "two nodes of a name": (
        lambda: model([node("Relu", ["x"], ["a"], name="twin"), node("Neg", ["a"], ["y"], name="twin")]),
        ModelError,
        "nodes.*'twin'",
    ),
    "an output that is an input": (lambda: model([node("Relu", ["x"], ["x"])]), ModelError, "'x'.*inputs make"),
    "one node, two outputs of a name": (
        lambda: model([node("TopK", ["x", "k"], ["y", "y"], name="top")], [constant("k", np.array([1]))]),
        ModelError,
        "top.*'y'",
    ),
    "an unknown operator": (lambda: model([node("Frobnicate", ["x"], ["y"], name="odd")]), ModelError, "odd"),
    "no operator": (lambda: model([node("", ["x"], ["y"])]), ModelError, "op_type"),
    "a node without outputs": (
        lambda: changed(plain(), lambda g: g.node.append(node("Neg", ["x"], [], name="mute"))),
        ModelError,
        "mute",
    ),
    "an input without a name": (
        lambda: model([node("Relu", [""], ["y"])], inputs=[value("", 2, 3)]),
        ModelError,
        "name",
    ),
    "an input without a shape": (
        lambda: changed(plain(), lambda g: g.input[0].type.tensor_type.ClearField("shape")),
        ModelError,
        "'x' is declared without a shape",
    ),
    "an input without a type": (lambda: changed(plain(), lambda g: g.input[0].ClearField("type")), ModelError, "type"),
    "an input of a thousand axes": (
        lambda: model([node("Relu", ["x"], ["y"])], inputs=[value("x", *[1] * 1000)]),
        ModelError,
        "'x'.*axes",
    ),
    "a name of a megabyte": (
        lambda: changed(plain(), lambda g: g.node[0].MergeFrom(NodeProto(name="n" * 10**6))),
        ModelTooLarge,
        "Add node",
    ),
    "an initialiser's name of a megabyte": (
        lambda: changed(plain(), lambda g: g.initializer.add(name="n" * 10**6, data_type=1, float_data=[1.0])),
        ModelTooLarge,
        "initialiser",
    ),
    "a node of a million inputs": (
        lambda: model([node("Sum", ["x"] * (MAX_OPERANDS + 1), ["y"], name="greedy")]),
        ModelTooLarge,
        "greedy",
    ),
    "initialisers without end": (
        lambda: model(
            [node("Relu", ["x"], ["y"])], [constant(f"c{k}", np.ones(1, np.float32)) for k in range(MAX_TENSORS + 1)]
        ),
        ModelTooLarge,
        "tensors",
    ),
    "raw data that are cut": (
        lambda: constant_where(lambda tensor: setattr(tensor, "raw_data", bytes(5))),
        ModelTruncated,
        "tensor c",
    ),
    "an element type that nobody knows": (
        lambda: constant_where(lambda tensor: setattr(tensor, "data_type", 99)),
        ModelError,
        "tensor c.*99",
    ),
    "numbers in two fields": (
        lambda: constant_where(lambda tensor: tensor.float_data.append(1.0)),
        ModelError,
        "tensor name: c",
    ),
    "numbers in the field of another type": (
        lambda: constant_where(
            lambda tensor: tensor.CopyFrom(TensorProto(name="c", data_type=1, dims=[1], int64_data=[1]))
        ),
        ModelError,
        "int64_data",
    ),
    "a segment": (lambda: constant_where(lambda tensor: setattr(tensor.segment, "end", 1)), ModelError, "tensor c"),
    "sizes beyond all numbers": (
        lambda: constant_where(lambda tensor: tensor.dims.__setitem__(slice(None), [2**40, 2**40])),
        ModelTooLarge,
        "tensor c",
    ),
    "nothing along one axis and everything along another": (
        lambda: constant_where(
            lambda tensor: tensor.CopyFrom(TensorProto(name="c", data_type=1, dims=[0, 2**62], raw_data=b""))
        ),
        ModelError,
        "tensor c",
    ),
    "a reference outside of functions": (lambda: model([reference()]), ModelError, "leaky"),
    "an attribute twice": (
        lambda: changed(
            model([node("LeakyRelu", ["x"], ["y"], alpha=0.1, name="leaky")]),
            lambda g: g.node[0].attribute.append(g.node[0].attribute[0]),
        ),
        ModelError,
        "alpha",
    ),
    "an attribute of another type": (
        lambda: model([node("LeakyRelu", ["x"], ["y"], alpha="steep", name="leaky")]),
        ModelError,
        "alpha",
    ),
    "a branch that reads what nothing makes": (lambda: branch(node("Relu", ["ghost"], ["o"])), ModelError, "ghost"),
    "a cycle in a branch": (
        lambda: branch(node("Add", ["x", "o"], ["t"]), node("Relu", ["t"], ["o"])),
        ModelError,
        "input 'o'",
    ),
    "a cycle through a branch": (
        lambda: changed(
            branch(node("Relu", ["later"], ["o"])), lambda g: g.node.append(node("Neg", ["y"], ["later"], name="after"))
        ),
        ModelCycle,
        "choice",
    ),
    "a function that calls itself": (
        lambda: model([call("F")], functions=[function("F", call("F", "a", "b"))]),
        ModelError,
        "F calls itself",
    ),
    "functions that call one another": (
        lambda: model([call("F")], functions=[function("F", call("G", "a", "b")), function("G", call("F", "a", "b"))]),
        ModelError,
        "calls itself",
    ),
    "functions 2,000 deep": (lambda: model([call("F0")], functions=nested(2000)), ModelTooLarge, "deeper"),
    "functions that unfold to a billion nodes": (
        lambda: model([call("F0")], functions=doubling(30)),
        ModelTooLarge,
        "unfold",
    ),
    "a function in a standard operator's place": (
        lambda: model([node("Relu", ["x"], ["y"])], functions=[function("Relu", node("Neg", ["a"], ["b"]), domain="")]),
        ModelError,
        "Relu",
    ),
    "a function that reads what nothing makes": (
        lambda: model([call("F")], functions=[function("F", node("Relu", ["ghost"], ["b"]))]),
        ModelError,
        "ghost",
    ),
    "a function that gives out what nothing makes": (
        lambda: model([call("F")], functions=[function("F", node("Relu", ["a"], ["c"]))]),
        ModelError,
        "function F.*'b'",
    ),
    "a call with more inputs than the function has": (
        lambda: model(
            [node("F", ["x", "x"], ["y"], domain="my", name="caller")],
            functions=[function("F", node("Relu", ["a"], ["b"]))],
        ),
        ModelError,
        "caller.*2 inputs.*F has 1",
    ),
    "a call for more outputs than the function has": (
        lambda: model(
            [node("F", ["x"], ["y", "z"], domain="my", name="caller")],
            functions=[function("F", node("Relu", ["a"], ["b"]))],
        ),
        ModelError,
        "caller.*2 outputs.*F has 1",
    ),
    "a billion outputs declared": (
        lambda: model([node("Split", ["x"], ["y", "z"], num_outputs=10**9)]),
        ModelTooLarge,
        "Split.*outputs",
    ),
    "steps of zero": (
        lambda: model(
            [node("Slice", ["x", "zero", "two", "zero", "zero"], ["y"])],
            [constant("zero", np.array([0])), constant("two", np.array([2]))],
        ),
        ModelError,
        "Slice.*steps of 0",
    ),
    "more axes than torch has": (
        lambda: model([node("Unsqueeze", ["x", "axes"], ["y"])], [constant("axes", np.arange(70))]),
        ModelError,
        "Unsqueeze.*axes",
    ),
    "a loop whose number of turns is none": (
        lambda: changed(loop(3), lambda g: g.initializer[0].CopyFrom(constant("turns", np.zeros(0, np.int64)))),
        ModelError,
        "Loop node 'mill'.*'turns'.*empty",
    ),
    "no hidden units": (
        lambda: model(
            [node("LSTM", ["x", "w", "r"], ["y"])],
            [constant("w", random(1, 0, 3)), constant("r", random(1, 0, 0))],
            inputs=[value("x", 2, 1, 3)],
        ),
        ModelError,
        "LSTM.*hidden",
    ),
}

TOO_LARGE = {
    "OneHot": (["whole", "many", "values"], {}),
    "Einsum": (["large", "large", "large", "x"], {"equation": "a,b,c,de->abcde"}),
    "AffineGrid": (["theta", "image"], {}),
    "AveragePool": (["theta"], {"kernel_shape": [2], "pads": [0, 10**10]}),
}
"""Operators that make much out of little, by their inputs and attributes."""


@pytest.mark.parametrize("op", TOO_LARGE)
def test_what_would_not_fit_is_told_before_it_is_made(op: str):
    inputs, attributes = TOO_LARGE[op]
    constants = [constant("many", np.array(10**12)), constant("values", np.array([0, 1], np.float32))]
    constants += [constant("large", random(10_000)), constant("image", np.array([1, 1, 10**6, 10**6]))]
    before = [node("Cast", ["x"], ["whole"], to=TensorProto.INT64), node("Unsqueeze", ["x", "zero"], ["theta"])]
    made = model([*before, node(op, inputs, ["y"], **attributes)], [*constants, constant("zero", np.array([0]))])
    made.opset_import[0].version = 20
    with pytest.raises(ModelTooLarge, match="would take"):
        Network.from_proto(made).graph(torch.ones(2, 3))


def test_channels_without_end_are_told_before_they_are_numbered(tmp_path: Path):
    nodes = [node("Gemm", ["x", "w"], ["h"]), node("Pad", ["h", "pads"], ["p"]), node("ReduceMax", ["p"], ["y"])]
    padded = model(nodes, [constant("w", random(3, 4)), constant("pads", np.array([0, 0, 0, limits.MAX_CHANNELS]))])
    network = Network.from_proto(padded)
    with pytest.raises(ModelTooLarge, match="channels"):
        analyse(network)
    assert "channels" in inspect(network, 0, tmp_path).notes[-1]


@pytest.mark.parametrize("op", ["Div", "Mod"])
def test_the_least_integer_over_minus_one_wraps(op: str):
    """Processors stop a program that divides so."""
    least = np.iinfo(np.int64).min
    inputs = [value("x", 3, kind=TensorProto.INT64)]
    made = model([node(op, ["x", "c"], ["y"])], [constant("c", np.array([-1, -1, 2]))], inputs=inputs)
    (found,) = Network.from_proto(made).graph(torch.tensor([least, 7, least]))
    assert found.tolist() == ([least, -7, least // 2] if op == "Div" else [0, 0, 0])


@pytest.mark.parametrize("case", TOLD)
def test_is_told(case: str, tmp_path: Path):
    make, problem, text = TOLD[case]
    (tmp_path / "model.onnx").write_bytes(make().SerializeToString())
    with pytest.raises(problem, match=text):
        Network.from_onnx(tmp_path / "model.onnx")


def add_chain(names: list[str], *shape: int) -> ModelProto:
    values = ["x", *(f"v{k}" for k in range(1, len(names))), "y"]
    nodes = [node("Add", [values[k], name], [values[k + 1]]) for k, name in enumerate(names)]
    return model(nodes, [constant(name, random(*shape, seed=k)) for k, name in enumerate(names)])


WORDS = [
    "forward",
    "training",
    "graph",
    "code",
    "_parameters",
    "class",
    "None",
    "inf",
    "self",
    "torch",
    "input_0",
    "eval",
]
ODD = ["", " ", "../../etc", "a\nb", "\u202e", "π", "1", "'\"\\", "a" * 2000]

WORKS: dict[str, Callable[[], ModelProto]] = {
    "words of Python and torch, vectors": lambda: add_chain(WORDS, 3),
    "words of Python and torch, matrices": lambda: add_chain(WORDS, 2, 3),
    "odd names": lambda: add_chain(ODD[1:], 3),
    "no nodes": lambda: model([], outputs=[value("x", 2, 3)]),
    "an initialiser is an output": lambda: model(
        [node("Relu", ["x"], ["y"])], [constant("c", random(2))], outputs=[value("y", 2, 3), value("c", 2)]
    ),
    "an output twice": lambda: model([node("Relu", ["x"], ["y"])], outputs=[value("y", 2, 3), value("y", 2, 3)]),
    "an input is an output too": lambda: model(
        [node("Relu", ["x"], ["y"])], outputs=[value("y", 2, 3), value("x", 2, 3)]
    ),
    "a node whose output nobody reads": lambda: model([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["z"])]),
    "an optional output left out": lambda: model(
        [node("Dropout", ["x"], ["y", ""], name="drop"), node("Neg", ["y"], ["z"])], outputs=[value("z", 2, 3)]
    ),
    "a wrong shape declared inside": lambda: changed(
        model([node("Relu", ["x"], ["a"]), node("Neg", ["a"], ["y"])]), lambda g: g.value_info.append(value("a", 7, 7))
    ),
    "a wrong shape declared outside": lambda: model([node("Relu", ["x"], ["y"])], outputs=[value("y", 7, 7)]),
    "a size of -1": lambda: model([node("Relu", ["x"], ["y"])], inputs=[value("x", -1, 3)]),
    "a size of zero": lambda: model(
        [node("MatMul", ["x", "w"], ["h"]), node("MatMul", ["h", "v"], ["y"])],
        [constant("w", random(3, 0)), constant("v", random(0, 3))],
    ),
    "a function": lambda: model([call("F")], functions=[function("F", node("Relu", ["a"], ["b"]))]),
    "a function for what onnxruntime computes itself": lambda: model(
        [node("Gelu", ["x"], ["y"], domain="com.microsoft")],
        functions=[function("Gelu", node("Relu", ["a"], ["b"]), domain="com.microsoft")],
    ),
    "a chain of 5,000": lambda: model(
        [node("Neg", [f"v{k}" if k else "x"], [f"v{k + 1}" if k < 4999 else "y"]) for k in range(5000)]
    ),
}


@pytest.mark.parametrize("case", WORKS)
def test_works(case: str, tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(WORKS[case]().SerializeToString())
    network, x = Network.from_onnx(path), random(2, 3)
    with torch.no_grad():
        found = network.graph(torch.from_numpy(x))
    for ours, theirs in zip(found, run_onnx(path, {"x": x}), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, atol=1e-6)
    network.to_onnx(tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == path.read_bytes()


def loop(turns: int) -> ModelProto:
    body = helper.make_graph(
        [node("Tanh", ["v"], ["w"]), node("Identity", ["c"], ["d"])],
        "body",
        [value("i", kind=TensorProto.INT64), value("c", kind=TensorProto.BOOL), value("v", 2, 3)],
        [value("d", kind=TensorProto.BOOL), value("w", 2, 3)],
    )
    return model(
        [node("Loop", ["turns", "", "x"], ["y"], body=body, name="mill")], [constant("turns", np.array(turns))]
    )


def test_a_loop_without_end_is_given_up_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "MAX_RUN_SECONDS", 0.5)
    network = Network.from_proto(loop(2**62))
    with pytest.raises(OutOfTime, match="Loop node 'mill'"):
        network.graph(torch.ones(2, 3))
    found = inspect(network, 0, tmp_path)
    assert found.macs is None
    assert "Loop node 'mill'" in found.notes[-1]
    assert inspect(Network.from_proto(loop(3)), 0, tmp_path).macs == 0


def nested_branches(depth: int) -> bytes:
    """A model whose branches are nested; built from the inside, as protobuf's own classes refuse to."""

    def field(number: int, data: bytes) -> bytes:
        return delimited(number, len(data)) + data

    graph = helper.make_graph([node("Identity", ["x"], ["o"])], "g", [], [value("o", 1)]).SerializeToString()
    for _ in range(depth):
        attribute = field(1, b"then_branch") + field(6, graph) + b"\xa0\x01\x05"
        choice = field(1, b"c") + field(2, b"o") + field(4, b"If") + field(5, attribute)
        graph = field(1, choice) + field(2, b"g") + field(12, value("o", 1).SerializeToString())
    return b"\x08\x08" + field(7, graph) + field(8, helper.make_opsetid("", 17).SerializeToString())


BREAKS_INTERPRETERS: dict[str, Callable[[], bytes]] = {
    "branches 1,000 deep": lambda: nested_branches(1000),
    "branches 30 deep": lambda: nested_branches(30),
    "functions 2,000 deep": lambda: model([call("F0")], functions=nested(2000)).SerializeToString(),
}


@pytest.mark.parametrize("case", BREAKS_INTERPRETERS)
def test_the_process_survives(case: str, tmp_path: Path):
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "model.onnx").write_bytes(BREAKS_INTERPRETERS[case]())
    (tmp_path / "job.json").write_text(json.dumps({"kind": "inspect", "model": "model.onnx"}))
    subprocess.run([sys.executable, "-P", "-m", "core", str(tmp_path)], cwd=ROOT, env=environment(), check=False)
    assert json.loads((tmp_path / "result.json").read_text())["code"] in ("model_too_large", "model_not_onnx")


def environment() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}


def test_a_malformed_node_is_left_to_onnxruntime_to_judge(tmp_path: Path):
    conv = model(
        [node("Conv", ["x", "w"], ["y"], group=0, name="none")],
        [constant("w", random(4, 3, 1, 1))],
        inputs=[value("x", 1, 3, 4, 4)],
        outputs=[value("y", 1, 4, 4, 4)],
    )
    (tmp_path / "model.onnx").write_bytes(conv.SerializeToString())
    assert read_model(tmp_path / "model.onnx").graph.node[0].name == "none"
    assert "malformed" in Network.from_onnx(tmp_path / "model.onnx").notes[0]
