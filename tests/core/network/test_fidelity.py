"""With nothing changed, what comes out is what came in, field by field; with a change, it is that change alone."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper

from core.network import Network
from core.network.write import write_model
from tests.core.network import light
from tests.core.network.models import model_of, random

BIG = {"light_vgg19", "light_bvlc_alexnet", "light_zfnet512"}
"""Hundreds of megabytes of weights."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in BIG else ()) for n in light.NAMES])
def test_light_models_come_out_as_they_came(name: str, tmp_path: Path):
    model = light.load(name)
    model.doc_string, model.graph.doc_string, model.model_version = "about the model", "about the graph", 7
    model.metadata_props.add(key="labels", value="a,b")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    model.graph.node[0].doc_string = "about the node"
    write_model(model, tmp_path / "in.onnx")
    Network.from_onnx(tmp_path / "in.onnx").to_onnx(tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == model.SerializeToString()


def two_layers() -> ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "one.weight", "one.bias"], ["h"], name="first", doc_string="about the first"),
        helper.make_node("Conv", ["h", "two.weight"], ["y"], name="second", doc_string="about the second"),
    ]
    constants = {"one.weight": random(8, 3, 3, 3), "one.bias": random(8), "two.weight": random(4, 8, 1, 1)}
    model = model_of(nodes, {"x": ["n", 3, 8, 8]}, constants=constants)
    model.doc_string, model.graph.doc_string = "about the model", "about the graph"
    for message in (model, model.graph, *model.graph.node, *model.graph.initializer):
        message.metadata_props.add(key="labels", value="a,b")
    model.graph.initializer[2].doc_string = "about its weight"
    return model


@pytest.mark.parametrize("place, layer", [(0, "one"), (2, "two")])
def test_only_what_changed_is_written_anew(place: int, layer: str):
    model = two_layers()
    network = Network.from_proto(model)
    with torch.no_grad():
        network.layer(layer).weight[-1, -1] += 1  # the last numbers of all
    written = network.to_proto()
    before, after = (m.graph.initializer[place] for m in (model, written))
    assert before.raw_data != after.raw_data
    before.ClearField("raw_data")
    after.ClearField("raw_data")
    assert written == model


@pytest.mark.parametrize("name", ["one.weight", "one.bias", "two.weight"])
@pytest.mark.parametrize("through", ["numpy", "data"])
def test_a_change_by_any_way_is_seen(name: str, through: str):
    network = Network.from_proto(two_layers())
    layer, tensor = name.split(".")
    held = getattr(network.layer(layer), tensor)
    if through == "numpy":
        held.detach().numpy().flat[-1] += 1
    else:
        held.data.view(-1)[0] += 1
    assert network.to_proto() is not network.source


def test_a_zero_that_turned_negative_is_a_change():
    model = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [1, 2]}, constants={"w": np.zeros((2, 2), np.float32)}
    )
    network = Network.from_proto(model)
    network.layers()[0].weight.data.neg_()
    assert network.to_proto() is not network.source


def test_inputs_with_default_values_become_constants_with_a_change_and_it_is_said():
    model = two_layers()
    for tensor in list(model.graph.initializer)[:2]:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    network = Network.from_proto(model)
    assert [value.name for value in network.to_proto().graph.input] == ["x", "one.weight", "one.bias"]
    network.layer("two").weight.data.mul_(2)
    export = network.export()
    assert [value.name for value in export.model.graph.input] == ["x"]
    assert "2 inputs" in export.notes[0]
    assert "one.weight, one.bias" in export.notes[0]


# files


UNKNOWN = b"\xfa\x07\x03abc\xf8\x08\x05\xf9\x08" + b"12345678" + b"\xfd\x081234" + b"\xfb\x08\x08\x01\xfc\x08"
"""Fields of a newer format: a number, bytes, eight and four bytes, and a group."""


def with_unknown_fields() -> ModelProto:
    """They are in the model, the graph and a tensor."""
    model = two_layers()
    for message in (model, model.graph, model.graph.initializer[0]):
        message.MergeFromString(UNKNOWN)
    return model


def test_a_file_is_what_protobuf_writes(tmp_path: Path):
    model = with_unknown_fields()
    model.graph.initializer.add(name="typed", data_type=1, dims=[2], float_data=[1.0, 2.0])
    write_model(model, tmp_path / "model.onnx")
    assert ModelProto.FromString((tmp_path / "model.onnx").read_bytes()) == model
    assert len((tmp_path / "model.onnx").read_bytes()) == model.ByteSize()


def test_large_weights_go_beside_the_model_and_come_back(tmp_path: Path):
    model = two_layers()
    model.graph.initializer.add(name="typed", data_type=1, dims=[300], float_data=np.arange(300.0))
    model.graph.initializer.add(name="few", data_type=1, dims=[3], float_data=[1.0, 2.0, 3.0])
    model.graph.node.append(helper.make_node("Add", ["y", "few"], ["z"]))
    write_model(model, tmp_path / "model.onnx", most_bytes=100)
    beside = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    assert [tensor.name for tensor in beside.graph.initializer if tensor.external_data] == ["typed"]
    loaded = onnx.load(tmp_path / "model.onnx")
    for mine, other in zip(model.graph.initializer, loaded.graph.initializer, strict=True):
        assert np.array_equal(onnx.numpy_helper.to_array(mine), onnx.numpy_helper.to_array(other))
    network = Network.from_onnx(tmp_path / "model.onnx")
    assert np.array_equal(
        network.layer("one").weight.detach().numpy(), onnx.numpy_helper.to_array(model.graph.initializer[0])
    )


def test_what_is_said_of_a_weight_stays_when_its_numbers_go_beside_the_model(tmp_path: Path):
    model = with_unknown_fields()
    said = model.graph.initializer[0]
    said.CopyFrom(TensorProto(name="one.weight", data_type=1, dims=[100, 3], raw_data=bytes(1200)))
    said.metadata_props.add(key="from", value="layer 1")
    said.MergeFromString(UNKNOWN)
    write_model(model, tmp_path / "model.onnx", most_bytes=100)
    beside = onnx.load(tmp_path / "model.onnx", load_external_data=False).graph.initializer[0]
    assert [entry.key for entry in beside.external_data] == ["location", "offset", "length"]
    for left_out in ("raw_data", "external_data", "data_location"):
        said.ClearField(left_out)
        beside.ClearField(left_out)
    assert beside == said


def test_weights_of_another_size_than_they_declare_are_not_written(tmp_path: Path):
    model = two_layers()
    model.graph.initializer[0].raw_data += bytes(4)
    with pytest.raises(ValueError, match="size that they declare"):
        write_model(model, tmp_path / "model.onnx")


def test_unchanged_weights_of_a_changed_network_are_those_of_the_file():
    model = two_layers()
    network = Network.from_proto(model)
    network.layer("two").weight.data.mul_(2)
    written = {tensor.name: tensor for tensor in network.to_proto().graph.initializer}
    for tensor in model.graph.initializer:
        assert (written[tensor.name].raw_data == tensor.raw_data) == (tensor.name != "two.weight")
