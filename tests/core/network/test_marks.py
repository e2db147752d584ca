"""A tensor is known again by its bits, and by nothing less."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from core.network.marks import Mark
from core.network.tensors import LARGE, raw_bytes, stored_tensor, to_torch

sizes = st.lists(st.integers(0, 4), max_size=3)
kinds = st.sampled_from([torch.float32, torch.int64, torch.uint8, torch.bool])


@given(sizes, kinds)
def test_a_copy_is_known_again_however_it_lies(size: list[int], kind: torch.dtype):
    tensor = torch.arange(np.prod(size, dtype=int)).reshape(size).to(kind)
    strided = tensor.repeat_interleave(2, dim=-1)[..., ::2] if size else tensor.clone()
    assert Mark.of(tensor).fits(strided)


@given(sizes, st.sampled_from([TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE]))
def test_bytes_are_those_of_onnx(size: list[int], stored: int):
    tensor = torch.linspace(-1, 1, int(np.prod(size))).reshape(size)
    strided = tensor.repeat_interleave(2, dim=-1)[..., ::2] if size else tensor
    expected = stored_tensor("w", tensor, stored).raw_data
    assert raw_bytes(strided, stored).tobytes() == expected


@given(st.integers(0, 31))
def test_one_bit_makes_another(bit: int):
    tensor = torch.linspace(-1, 1, 12).reshape(3, 4)
    other = tensor.clone()
    other.view(torch.int32)[1, 2] ^= torch.tensor(1 << bit).to(torch.int32)
    assert not Mark.of(tensor).fits(other)


def test_equal_bytes_of_another_type_or_shape_are_another():
    tensor = torch.zeros(2, 3)
    assert not Mark.of(tensor).fits(torch.zeros(3, 2))
    assert not Mark.of(tensor).fits(torch.zeros(2, 3, dtype=torch.int32))


@pytest.mark.parametrize("elements", [LARGE // 8, LARGE])
def test_a_tensor_of_a_file_is_written_to_without_the_file(elements: int):
    proto = numpy_helper.from_array(np.arange(elements, dtype=np.float32), "w")
    tensor = to_torch(proto)
    tensor.mul_(2)
    assert np.array_equal(numpy_helper.to_array(proto), np.arange(elements))
    assert torch.equal(to_torch(proto) * 2, tensor)
