import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

from core.formats.open import open_network
from core.zoo.build import build
from modelpress.problem import (
    ArchitectureInvalid,
    CheckpointInvalid,
    CheckpointMismatch,
    ModelError,
    ModelNotFinite,
    ModelTooLarge,
)

IMAGE = (3, 16, 16)


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    """Those of a ResNet-20 of half the width, as torch saves them."""
    model = build("resnet20", IMAGE, 4, width=0.5, seed=seed)
    floats = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    held = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in floats}
    return {**held, "bn1.num_batches_tracked": torch.tensor(7)}


def write(folder: Path, held: dict[str, torch.Tensor], architecture: Any = "resnet20", name: str = "w") -> Path:
    save_file(held, folder / name)
    if architecture is not None:
        said = {"name": architecture, "input_shape": IMAGE} if isinstance(architecture, str) else architecture
        (folder / "architecture.json").write_text(json.dumps(said))
    return folder / name


def logits(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input": images})[0])


def test_a_checkpoint_computes_what_the_network_it_was_taken_from_does(tmp_path):
    network = open_network(write(tmp_path, tensors(seed=3)))
    images = np.random.default_rng(0).normal(size=(2, *IMAGE)).astype(np.float32)
    expected = logits(build("resnet20", IMAGE, 4, width=0.5, seed=3), images)
    assert np.array_equal(logits(network.to_proto(), images), expected)
    assert not np.array_equal(expected[0], expected[1])
    assert network.notes[0] == "the checkpoint was read as resnet20 (4 classes, samples 3 x 16 x 16, width 0.5)"


@pytest.mark.parametrize("kind, tolerance", [(torch.float16, 2e-3), (torch.bfloat16, 2e-2), (torch.float64, 0.0)])
def test_other_real_types_become_float32_and_the_notes_say_so(tmp_path, kind, tolerance):
    held = {name: tensor.to(kind) if tensor.is_floating_point() else tensor for name, tensor in tensors().items()}
    network = open_network(write(tmp_path, held))
    weight = network.layer("conv1").weight.detach()
    torch.testing.assert_close(weight, tensors()["conv1.weight"], rtol=tolerance, atol=tolerance)
    assert network.notes[-1] == f"weights stored as {str(kind).removeprefix('torch.')} are float32 here"


def test_what_wraps_a_module_leaves_no_trace_in_the_names(tmp_path):
    held = {f"module._orig_mod.{name}": tensor for name, tensor in tensors().items()}
    assert open_network(write(tmp_path, held)).layer("layer1.0.conv1").weight.shape == (8, 8, 3, 3)


def test_a_size_of_images_that_was_taken_from_the_paper_is_noted(tmp_path):
    network = open_network(write(tmp_path, tensors(), {"name": "resnet20"}))
    assert "3 x 32 x 32 was taken" in network.notes[1]


def test_without_an_architecture_the_right_name_is_told(tmp_path):
    with pytest.raises(ArchitectureInvalid) as caught:
        open_network(write(tmp_path, tensors(), None))
    assert "The tensors are those of resnet20 (4 classes" in caught.value.hint


@pytest.mark.parametrize(
    "said, what",
    [
        ({"name": "resnet21"}, "/name"),
        ({"name": "resnet20", "input_shape": [3, 0, 32]}, "/input_shape/1"),
        ({"name": "resnet20", "layers": 20}, "there is no field 'layers'"),
        ({"name": "resnet20", "width": 1e9}, "/width"),
        ([], "architecture.json"),
    ],
)
def test_an_architecture_that_makes_no_sense_is_refused_with_its_field(tmp_path, said, what):
    with pytest.raises(ArchitectureInvalid) as caught:
        open_network(write(tmp_path, tensors(), said))
    assert what in caught.value.detail


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b"[" * 60_000, b" " * 70_000])
def test_an_architecture_that_is_no_json_is_refused(tmp_path, text):
    path = write(tmp_path, tensors())
    (tmp_path / "architecture.json").write_bytes(text)
    with pytest.raises(ArchitectureInvalid):
        open_network(path)


def test_weights_that_are_no_real_numbers_are_refused_by_name(tmp_path):
    held = {**tensors(), "conv1.weight": torch.zeros(8, 3, 3, 3, dtype=torch.int8)}
    with pytest.raises(CheckpointInvalid, match=r"conv1\.weight is of type I8"):
        open_network(write(tmp_path, held))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    held = tensors()
    held["layer3.2.conv2.weight"][0, 0, 0, 0] = torch.nan
    with pytest.raises(ModelNotFinite):
        open_network(write(tmp_path, held))


def test_the_wrong_architecture_is_a_mismatch_that_tells_the_right_one(tmp_path):
    with pytest.raises(CheckpointMismatch) as caught:
        open_network(write(tmp_path, tensors(), "resnet56"))
    assert caught.value.hint.startswith("The tensors are those of resnet20")


def test_weights_too_large_for_a_protobuf_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("core.formats.safetensors.MAX_FILE_BYTES", 100_000)
    with pytest.raises(ModelTooLarge, match="as float32 the weights take"):
        open_network(write(tmp_path, tensors()))


# files made to hurt


def raw(folder: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "model"
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    (folder / "architecture.json").write_text('{"name": "lenet_5"}')
    return path


def tensor(shape: list[int], start: int, stop: int, kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    "header, data, what",
    [
        ({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, 12, "invalid offset"),
        ({"a": tensor([2], 4, 12)}, 12, "invalid offset"),
        ({"a": tensor([2], 0, 8)}, 9, "not fully covered"),
        ({"a": tensor([2], 0, 8)}, 7, "not fully covered"),
        ({"a": tensor([3], 0, 8)}, 8, "invalid shape"),
        ({"a": tensor([2], 0, 8, "F33")}, 8, "unknown variant"),
        ({"a": tensor([2**63, 4], 0, 0)}, 0, "overflow"),
        ({"a": tensor([-2], 0, 8)}, 8, "invalid value"),
        ({"a": {"dtype": "F32"}}, 0, "missing field"),
        (b'{"a":' * 10_000, 0, "recursion limit"),
        (b'{"\xff"}', 0, "UTF-8"),
        (b"{", 0, "EOF"),
    ],
)
def test_a_damaged_header_is_told(tmp_path, header, data, what):
    with pytest.raises(CheckpointInvalid, match=what):
        open_network(raw(tmp_path, header, bytes(data)))


@pytest.mark.parametrize("length, what", [(100_000_001, "header too large"), (2**40, "too large"), (50, "length")])
def test_a_header_longer_than_it_may_be_or_than_the_file_is_told(tmp_path, length, what):
    with pytest.raises(CheckpointInvalid, match=what):
        open_network(raw(tmp_path, b"{}", length=length))


def test_an_empty_checkpoint_and_absurd_shapes_are_a_mismatch(tmp_path):
    for header in ({}, {"conv1.weight": tensor([0, 10**15], 0, 0)}, {"a": tensor([1] * 1000, 0, 4)}):
        with pytest.raises(CheckpointMismatch) as caught:
            open_network(raw(tmp_path, header, bytes(4 if "a" in header else 0)))
        assert len(caught.value.detail) < 2_000


def test_more_tensors_than_any_network_has_are_refused(tmp_path):
    header = {str(place): tensor([0], 0, 0) for place in range(100_001)}
    with pytest.raises(ModelTooLarge, match="100,001 tensors"):
        open_network(raw(tmp_path, header))


@pytest.mark.parametrize("cut", [0, 4, 8, 100, -1])
def test_a_cut_file_is_refused(tmp_path, cut):
    path = write(tmp_path, tensors())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ModelError):
        open_network(path)
