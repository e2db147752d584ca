"""Files made to hurt: each ends in a problem that says what is wrong, before anything big is allocated."""

import os
import pickle
import resource
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from core.network import Network
from core.network.limits import MAX_DEPTH
from modelpress.problem import (
    ModelCycle,
    ModelError,
    ModelExternalData,
    ModelNotFinite,
    ModelNotOnnx,
    ModelTooLarge,
    ModelTruncated,
)
from tests.core.network.models import model_of, random


def node(kind: str, inputs: list[str], outputs: list[str], **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, outputs, **attributes)


def conv_model(weight: np.ndarray | None = None) -> ModelProto:
    constants = {"conv.weight": random(4, 3, 3, 3) if weight is None else weight}
    return model_of([node("Conv", ["x", "conv.weight"], ["y"])], {"x": [1, 3, 8, 8]}, constants=constants)


def write(folder: Path, model: ModelProto | bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"these are my weights\n" * 100, id="text"),
        pytest.param(pickle.dumps({"weight": [1.0, 2.0]}), id="pickle"),
        pytest.param(b"PK\x03\x04" + bytes(100), id="zip"),
        pytest.param(bytes(1000), id="zeros"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(100), id="picture"),
        pytest.param(b"\x08\x08", id="no graph"),
        pytest.param(b"\x08\x08\x3a\x04\xff\xff\xff\xff", id="garbage inside"),
    ],
)
def test_what_is_no_onnx_is_said_to_be_none(tmp_path: Path, data: bytes):
    with pytest.raises(ModelNotOnnx) as error:
        Network.from_onnx(write(tmp_path, data))
    assert "xport" in error.value.hint


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_cut_file_is_said_to_be_cut(tmp_path: Path, share: float):
    data = conv_model().SerializeToString()
    with pytest.raises(ModelTruncated):
        Network.from_onnx(write(tmp_path, data[: int(len(data) * share)]))


@pytest.mark.parametrize(
    "text, place",
    [
        (b"Conv", r"graph\.node\[0\]\.op_type"),
        (b"conv.weight", r"graph\.node\[0\]\.input\[1\]"),
        (b"batch", r"graph\.input\[0\]\.type\.tensor_type\.shape\.dim\[0\]\.dim_param"),
        (b"notes", "doc_string"),
        (b"weights.data", r"graph\.initializer\[0\]\.external_data\[0\]\.value"),
    ],
)
def test_a_text_that_is_none_is_told_by_its_place(tmp_path: Path, text: bytes, place: str):
    model = conv_model()
    model.doc_string, model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "notes", "batch"
    model.graph.initializer[0].external_data.add(key="location", value="weights.data")
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(ModelError, match=f"^{place} is .*not UTF-8"):
        Network.from_onnx(write(tmp_path, model.SerializeToString().replace(text, b"\xff" * len(text))))


def test_a_cycle_is_named():
    model = model_of([node("Relu", ["x"], ["a"]), node("Relu", ["a"], ["y"])], {"x": [1]})
    loop = [node("Add", ["a", "c"], ["b"], name="first"), node("Relu", ["b"], ["c"], name="second")]
    model.graph.node.extend(loop)
    with pytest.raises(ModelCycle, match=r"first.*second|second.*first"):
        Network.from_proto(model)


def test_nodes_out_of_order_are_put_in_order():
    model = model_of([node("Relu", ["x"], ["a"]), node("Neg", ["a"], ["y"])], {"x": [1]})
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in reversed(model.graph.node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert [n.op_type for n in Network.from_proto(model).source.graph.node] == ["Relu", "Neg"]


def test_a_value_that_nothing_makes_is_named():
    model = model_of([node("Relu", ["x"], ["y"])], {"x": [1]})
    model.graph.node.append(node("Add", ["x", "ghost"], ["z"], name="adder"))
    with pytest.raises(ModelError, match=r"adder.*ghost"):
        Network.from_proto(model)


def test_a_value_made_twice_is_named():
    model = model_of([node("Relu", ["x"], ["y"])], {"x": [1]})
    model.graph.node.append(node("Neg", ["x"], ["y"], name="again"))
    with pytest.raises(ModelError, match="again"):
        Network.from_proto(model)


def test_an_output_that_nothing_makes_is_named():
    model = model_of([node("Relu", ["x"], ["y"])], {"x": [1]})
    model.graph.output[0].name = "elsewhere"
    with pytest.raises(ModelError, match="elsewhere"):
        Network.from_proto(model)


def test_a_foreign_operator_is_named():
    model = model_of([node("Relu", ["x"], ["y"])], {"x": [1]})
    model.graph.node.append(node("Evil", ["x"], ["z"], name="sneaky", domain="com.example"))
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(ModelError, match=r"sneaky.*com\.example"):
        Network.from_proto(model)


def test_an_unknown_attribute_is_refused_by_the_checker():
    model = model_of([node("Relu", ["x"], ["y"], nonsense=3)], {"x": [1]})
    with pytest.raises(ModelError, match="nonsense"):
        Network.from_proto(model)


def test_graphs_nested_without_end_are_refused():
    inner = helper.make_graph([node("Identity", ["x"], ["o"])], "g", [], [helper.make_tensor_value_info("o", 1, [1])])
    for level in range(MAX_DEPTH + 2):
        branch = node("If", ["c"], [f"o{level}"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([branch], "g", [], [helper.make_tensor_value_info(f"o{level}", 1, [1])])
    model = model_of([node("Relu", ["x"], ["y"])], {"x": [1]})
    model.graph.node.append(node("If", ["c"], ["z"], then_branch=inner, else_branch=inner))
    with pytest.raises(ModelTooLarge, match="nested"):
        Network.from_proto(model)


# sizes


def peak_kilobytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_a_tensor_of_160_gb_in_a_small_file(tmp_path: Path):
    model = conv_model()
    model.graph.initializer[0].dims[:] = [200_000, 200_000]
    path = write(tmp_path, model)
    before = peak_kilobytes()
    with pytest.raises(ModelTooLarge, match="160,000,000,000"):
        Network.from_onnx(path)
    assert peak_kilobytes() - before < 100_000


@pytest.mark.parametrize(("dims", "problem"), [([4, 3, 3, 4], ModelTruncated), ([4, 3, 3, 2], ModelError)])
def test_a_tensor_that_holds_more_or_less_than_it_declares(dims: list[int], problem: type[ModelError]):
    model = conv_model()
    model.graph.initializer[0].dims[:] = dims
    with pytest.raises(problem, match=r"conv\.weight"):
        Network.from_proto(model)


def test_a_negative_size():
    model = conv_model()
    model.graph.initializer[0].dims[0] = -4
    with pytest.raises(ModelError, match="impossible"):
        Network.from_proto(model)


def bomb(kind: str) -> ModelProto:
    huge = np.array([200_000, 200_000], np.int64)
    if kind == "ConstantOfShape":
        nodes = [node("ConstantOfShape", ["s"], ["w"]), node("MatMul", ["x", "w"], ["y"])]
        return model_of(nodes, {"x": [1, 200_000]}, constants={"s": huge})
    if kind == "Expand":
        nodes = [node("Expand", ["c", "s"], ["w"]), node("MatMul", ["x", "w"], ["y"])]
        return model_of(nodes, {"x": [1, 200_000]}, constants={"s": huge, "c": np.float32(1)})
    if kind == "Tile":
        nodes = [node("Tile", ["c", "s"], ["w"]), node("MatMul", ["x", "w"], ["y"])]
        return model_of(nodes, {"x": [1, 200_000]}, constants={"s": huge, "c": random(1, 1)})
    end = np.array(40_000_000_000, np.int64)
    nodes = [
        node("Range", ["zero", "end", "one"], ["r"]),
        node("Cast", ["r"], ["f"], to=TensorProto.FLOAT),
        node("Add", ["x", "f"], ["y"]),
    ]
    return model_of(nodes, {"x": [1]}, constants={"zero": np.array(0), "one": np.array(1), "end": end})


@pytest.mark.parametrize("kind", ["ConstantOfShape", "Expand", "Tile", "Range"])
def test_operators_that_conjure_up_memory(kind: str):
    before = peak_kilobytes()
    with pytest.raises(ModelTooLarge):
        Network.from_proto(bomb(kind))
    assert peak_kilobytes() - before < 100_000


# numbers


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_named(value: float):
    weight = random(4, 3, 3, 3)
    weight[1, 2, 0, 0] = value
    with pytest.raises(ModelNotFinite, match=r"layer conv.*\[1, 2, 0, 0\]"):
        Network.from_proto(conv_model(weight))


def test_infinity_may_bound_and_mask():
    mask = np.array([0, -np.inf, 0], np.float32)
    Network.from_proto(model_of([node("Add", ["x", "m"], ["y"])], {"x": [2, 3]}, constants={"m": mask}))


# external data


def external(folder: Path, location: str, offset: int | None = None, length: int | None = None) -> Path:
    """A convolution whose weight, 432 bytes, is said to be at `location`."""
    model = conv_model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    return write(folder, model)


def test_external_data_come_in(tmp_path: Path):
    weight = random(4, 3, 3, 3)
    (tmp_path / "w.bin").write_bytes(bytes(16) + weight.tobytes())
    network = Network.from_onnx(external(tmp_path, "w.bin", offset=16, length=432))
    assert np.array_equal(network.layer("conv").weight.detach().numpy(), weight)
    assert np.array_equal(numpy_helper.to_array(network.source.graph.initializer[0]), weight)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "a/../../secret.bin", "", "C:\\secret", "a\0b"])
def test_external_data_outside_the_folder(tmp_path: Path, location: str):
    (tmp_path / "secret.bin").write_bytes(bytes(432))
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(ModelExternalData):
        Network.from_onnx(external(folder, location))


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_external_data_through_a_link(tmp_path: Path, link):
    secret, folder = tmp_path / "secret.bin", tmp_path / "model"
    secret.write_bytes(bytes(432))
    folder.mkdir()
    link(secret, folder / "w.bin")
    with pytest.raises(ModelExternalData, match="link"):
        Network.from_onnx(external(folder, "w.bin"))


def test_external_data_through_a_linked_folder(tmp_path: Path):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "w.bin").write_bytes(bytes(432))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "inner").symlink_to(tmp_path / "secrets")
    with pytest.raises(ModelExternalData, match="link"):
        Network.from_onnx(external(tmp_path / "model", "inner/w.bin"))


@pytest.mark.parametrize(
    ("size", "offset", "length"), [(431, 0, None), (432, 1, None), (432, 0, 431), (432, -1, None), (432, 10**30, None)]
)
def test_external_data_that_do_not_fit(tmp_path: Path, size: int, offset: int, length: int | None):
    (tmp_path / "w.bin").write_bytes(bytes(size))
    with pytest.raises(ModelExternalData):
        Network.from_onnx(external(tmp_path, "w.bin", offset, length))


def test_external_data_that_are_missing_or_no_file(tmp_path: Path):
    with pytest.raises(ModelExternalData, match="missing"):
        Network.from_onnx(external(tmp_path, "w.bin"))
    (tmp_path / "w.bin").mkdir()
    with pytest.raises(ModelExternalData):
        Network.from_onnx(external(tmp_path, "w.bin"))


def test_external_data_of_an_attribute_are_checked_too(tmp_path: Path):
    value = helper.make_tensor("v", TensorProto.FLOAT, [2], bytes(8), raw=True)
    value.ClearField("raw_data")
    value.data_location = TensorProto.EXTERNAL
    value.external_data.add(key="location", value="../secret.bin")
    model = model_of([node("Relu", ["x"], ["y"])], {"x": [1]})
    model.graph.node.append(node("Constant", [], ["c"], value=value))
    with pytest.raises(ModelExternalData):
        Network.from_onnx(write(tmp_path, model))
