"""Made-up inputs are legal: of the declared types, in range, alike where names are."""

import torch
from onnx import TensorProto, helper

from core.network.samples import example_arguments, example_shapes
from core.network.source import Source
from tests.core.network.models import model_of

INPUTS = {
    "ids": ["batch", "length"],
    "attention_mask": ["batch", "length"],
    "keep": ["batch", 1, "length", "past + length"],
    "bytes": ["batch", 3],
    "pixels": ["batch", 3, None, None],
    "gain": [],
}
TYPES = {
    "ids": TensorProto.INT64,
    "attention_mask": TensorProto.INT32,
    "keep": TensorProto.BOOL,
    "bytes": TensorProto.UINT8,
}
AXES = (0, 0, 0, 0, 0, None)


def source() -> Source:
    nodes = [helper.make_node("Mul", ["pixels", "gain"], ["y"])]
    return Source(model_of(nodes, INPUTS, types=TYPES))


def test_types_and_shapes_are_those_that_are_declared():
    found = example_arguments(source(), batch=3, axes=AXES)
    assert [value.dtype for value in found] == [
        *(torch.int64, torch.int32, torch.bool, torch.uint8),
        *(torch.float32, torch.float32),
    ]
    assert [tuple(value.shape) for value in found] == [
        *((3, 32), (3, 32), (3, 1, 32, 224 + 32), (3, 3)),
        *((3, 3, 224, 224), ()),
    ]


def test_no_row_of_a_mask_hides_everything_and_some_hide_something():
    _, mask, keep, *_ = example_arguments(source(), batch=3, axes=AXES)
    for found in (mask.bool(), keep):
        assert found[..., 0].all()
        assert not found.all()
        assert found.float().mean() > 0.5


def test_indices_are_0_or_1():
    ids = example_arguments(source(), batch=3, axes=AXES)[0]
    assert ids.unique().tolist() == [0, 1]


def test_samples_stand_where_they_are_said_to():
    assert example_shapes([["t", "b", 4], [2, "b"], [5]], batch=3, free=7, axes=[1, 1, None]) == [
        [7, 3, 4],
        [2, 3],
        [5],
    ]
