"""What files hold besides fp32: half precision in parts, integers, functions, outputs of unknown rank."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from core.network import Network
from core.network.runtime import inside
from tests.core.network.agreement import assert_agrees
from tests.core.network.models import model_of, random, run_onnx

FLOAT, INT8, UINT8 = TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8


def half_way(half: int) -> ModelProto:
    """A layer in fp32, then one in half precision with a scaled result."""
    nodes = [
        helper.make_node("Gemm", ["x", "wide.weight"], ["a"], transB=1),
        helper.make_node("Cast", ["a"], ["b"], to=half),
        helper.make_node("Gemm", ["b", "narrow.weight"], ["c"], transB=1),
        helper.make_node("Mul", ["c", "scale"], ["d"]),
        helper.make_node("Cast", ["d"], ["y"], to=FLOAT),
    ]
    model = model_of(nodes, {"x": ["n", 5]}, constants={"wide.weight": random(6, 5)}, opset=21, ir_version=10)
    narrow = helper.tensor_dtype_to_np_dtype(half)
    for name, array in {"narrow.weight": random(4, 6), "scale": random(4)}.items():
        model.graph.initializer.append(numpy_helper.from_array(array.astype(narrow), name))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, ["n", 4]))
    return model


@pytest.mark.parametrize("half", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_each_tensor_is_written_in_the_type_it_came_in(half: int):
    network = Network.from_proto(half_way(half))
    with torch.no_grad():
        for parameter in network.graph.parameters():
            parameter.mul_(-0.5)
    written = network.to_proto()
    found = {tensor.name: tensor.data_type for tensor in written.graph.initializer}
    assert found == {"wide.weight": FLOAT, "narrow.weight": half, "scale": half}
    onnx.checker.check_model(written, full_check=True)
    if half == TensorProto.FLOAT16:  # onnxruntime has no bfloat16 Gemm on the CPU
        x = random(3, 5)
        expected = network({"x": torch.from_numpy(x)})["y"].detach().numpy()
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(run_onnx(written, {"x": x})[0], expected, rtol=2e-2, atol=1e-2)


def quantised(kind: str) -> ModelProto:
    """A Gemm in floats, then a product or convolution of integers, back to floats."""
    weight = (random(4, 6, seed=2) * 40).astype(np.int8)
    scales = {"s": np.float32(0.05), "z": np.uint8(128), "ws": np.float32(0.02), "wz": np.int8(0), "w": weight.T}
    nodes = [helper.make_node("Gemm", ["x", "a.weight"], ["h"], transB=1)]
    if kind == "dynamic":
        nodes += [
            helper.make_node("DynamicQuantizeLinear", ["h"], ["q", "qs", "qz"]),
            helper.make_node("MatMulInteger", ["q", "w", "qz", "wz"], ["i"]),
            helper.make_node("Cast", ["i"], ["f"], to=FLOAT),
            helper.make_node("Mul", ["f", "qs"], ["g"]),
            helper.make_node("Mul", ["g", "ws"], ["y"]),
        ]
    else:
        nodes.append(helper.make_node("QuantizeLinear", ["h", "s", "z"], ["q"]))
        if kind == "QLinearMatMul":
            inputs = ["q", "s", "z", "w", "ws", "wz", "s", "z"]
            nodes.append(helper.make_node("QLinearMatMul", inputs, ["p"]))
        elif kind == "QLinearConv":
            scales["w"] = weight.reshape(4, 6, 1)
            nodes += [
                helper.make_node("Unsqueeze", ["q", "last"], ["r"]),
                helper.make_node("QLinearConv", ["r", "s", "z", "w", "ws", "wz", "s", "z"], ["t"]),
                helper.make_node("Squeeze", ["t", "last"], ["p"]),
            ]
            scales["last"] = np.array([2], np.int64)
        else:
            nodes += [
                helper.make_node("DequantizeLinear", ["q", "s", "z"], ["k"]),
                helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["v"]),
                helper.make_node("MatMul", ["k", "v"], ["m"]),
                helper.make_node("QuantizeLinear", ["m", "s", "z"], ["p"]),
            ]
        nodes.append(helper.make_node("DequantizeLinear", ["p", "s", "z"], ["y"]))
    constants = {"a.weight": random(6, 5), **scales}
    used = {name for node in nodes for name in node.input}
    return model_of(nodes, {"x": ["n", 5]}, constants={k: v for k, v in constants.items() if k in used}, opset=17)


@pytest.mark.parametrize("kind", ["dynamic", "QLinearMatMul", "QLinearConv", "QDQ"])
def test_a_quantised_file_runs_and_its_float_layers_change(kind: str):
    model = quantised(kind)
    network = Network.from_proto(model)
    assert network.to_proto() is model
    step = 0.05  # of an output's integers; torch and onnxruntime may round to neighbours
    for changed in (False, True):
        if changed:
            with torch.no_grad():
                network.layer("a").weight.mul_(-1)
        written = network.to_proto()
        onnx.checker.check_model(written, full_check=True)
        expected = network({"x": torch.from_numpy(random(7, 5))})["y"].detach().numpy()
        found = run_onnx(written, {"x": random(7, 5)})[0]
        np.testing.assert_allclose(found, expected, atol=1.01 * step)
        assert np.abs(found - expected).mean() < step / 10
    integers = {t.name: t for t in written.graph.initializer if t.data_type in (INT8, UINT8)}
    assert {name: integers[name].data_type for name in ("w", "wz")} == {"w": INT8, "wz": INT8}


def test_a_function_of_the_file_is_looked_into():
    body = [
        helper.make_node("MatMul", ["p", "q"], ["r"]),
        helper.make_node("Relu", ["r"], ["s"]),
    ]
    imports = [helper.make_opsetid("", 17)]
    function = helper.make_function("own", "Dense", ["p", "q"], ["s"], body, imports)
    node = helper.make_node("Dense", ["x", "w"], ["y"], domain="own")
    model = helper.make_model(
        helper.make_graph(
            [node],
            "graph",
            [helper.make_tensor_value_info("x", FLOAT, ["n", 5])],
            [helper.make_tensor_value_info("y", FLOAT, ["n", 4])],
            [numpy_helper.from_array(random(5, 4), "w")],
        ),
        functions=[function],
        opset_imports=[*imports, helper.make_opsetid("own", 1)],
        ir_version=8,
    )
    network = Network.from_proto(model)
    assert network.to_proto() is model
    (layer,) = network.layers()
    with torch.no_grad():
        layer.weight.mul_(2.0)
    x = random(3, 5)
    (found,) = run_onnx(network.to_proto(), {"x": x})
    np.testing.assert_allclose(found, 2 * run_onnx(model, {"x": x})[0], rtol=1e-5)
    np.testing.assert_allclose(found, network({"x": torch.from_numpy(x)})["y"].detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.uint64])
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Less", "Cast", "BitShift"])
def test_unsigned_integers_start_again_at_0_and_are_never_negative(op: str, kind: type[np.unsignedinteger]):
    """What the operator gives is looked at by its size."""
    given = np.array([[2, np.iinfo(kind).max, 3]], kind)
    constants = {} if op == "Cast" else {"c": np.array([3, 2, 3], kind)}
    known: dict[str, dict[str, Any]] = {"Cast": {"to": TensorProto.DOUBLE}, "BitShift": {"direction": "LEFT"}}
    nodes = [
        helper.make_node(op, ["x", *constants], ["z"], **known.get(op, {})),
        helper.make_node("Cast", ["z"], ["y"], to=FLOAT),
    ]
    types = {"x": int(helper.np_dtype_to_tensor_dtype(np.dtype(kind)))}
    model = model_of(nodes, {"x": ["n", 3]}, constants=constants, types=types)
    (expected,) = run_onnx(model, {"x": given}, optimised=False)
    network = Network.from_proto(model)
    assert network.to_proto() is model
    x = inside(given)
    assert isinstance(x, torch.Tensor)
    np.testing.assert_array_equal(network({"x": x})["y"].numpy(), expected)


@pytest.mark.parametrize("given", [{}, {"alpha": 0.75}])
def test_a_function_called_without_an_attribute_takes_its_default(given: dict[str, Any]):
    node = helper.make_node("LeakyRelu", ["p"], ["q"])
    attribute = onnx.AttributeProto(name="alpha", ref_attr_name="alpha", type=onnx.AttributeProto.FLOAT)
    node.attribute.append(attribute)
    imports = [helper.make_opsetid("", 17)]
    default = helper.make_attribute("alpha", 0.25)
    function = helper.make_function("own", "Leak", ["p"], ["q"], [node], imports, [], [default])
    model = model_of([helper.make_node("Leak", ["x"], ["y"], domain="own", **given)], {"x": [5]})
    model.functions.append(function)
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 5
    assert_agrees(model, {"x": random(5)})


def test_an_output_need_not_say_its_rank():
    model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": ["n", 5]})
    model.graph.output[0].type.tensor_type.ClearField("shape")
    network = Network.from_proto(model)
    x = random(3, 5)
    assert np.array_equal(network({"x": torch.from_numpy(x)})["y"].numpy(), run_onnx(network.to_proto(), {"x": x})[0])


def test_strings_and_sequences_go_in_and_come_out():
    """Words twice, and a sequence with one more element."""
    nodes = [
        helper.make_node("StringConcat", ["words", "words"], ["twice"]),
        helper.make_node("SequenceInsert", ["given", "x"], ["more"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [
            helper.make_tensor_value_info("words", TensorProto.STRING, ["n"]),
            helper.make_tensor_sequence_value_info("given", FLOAT, None),
            helper.make_tensor_value_info("x", FLOAT, ["m"]),
        ],
        [
            helper.make_tensor_value_info("twice", TensorProto.STRING, ["n"]),
            helper.make_tensor_sequence_value_info("more", FLOAT, None),
        ],
    )
    network = Network.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9))
    inputs = {"words": np.array(["a", "bc"], object), "given": [random(3)], "x": torch.ones(2)}
    found: dict = network(inputs)  # type: ignore[arg-type]  # what torch can't hold
    assert found["twice"].tolist() == ["aa", "bcbc"]
    assert [array.tolist() for array in found["more"]] == [random(3).tolist(), [1.0, 1.0]]
