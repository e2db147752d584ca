"""onnxruntime's MatMulNBits: a product with a matrix of few bits a weight, as language models are shipped.

Contrib operators of onnxruntime, com.microsoft.MatMulNBits. Here its weights are plain numbers; a changed layer is
written with these.
"""

import torch
from torch import Tensor

from core.network.importer import Builder
from core.network.limits import check_allocation
from core.network.onnx_node import OnnxNode
from core.network.ops.linear import linear
from core.network.packed import split_bits
from core.network.registry import operator
from core.network.unsupported import Unsupported
from core.network.values import Value

EIGHT_BIT_ACTIVATIONS = 4
ZEROS, ORDER, BIAS = 3, 4, 5
"""Positions of optional inputs."""


@operator("com.microsoft.MatMulNBits")
def build_matmul_nbits(builder: Builder, node: OnnxNode) -> Value:
    node.only("K", "N", "bits", "block_size", "accuracy_level")
    if node.attribute("accuracy_level", 0) == EIGHT_BIT_ACTIVATIONS:
        raise Unsupported("MatMulNBits that rounds what it multiplies to eight bits")
    if node.given(ORDER):
        raise Unsupported("MatMulNBits with its rows in another order")
    for position in (1, 2, ZEROS, BIAS):
        if node.given(position) and not node.is_constant(position):
            raise Unsupported(f"MatMulNBits whose input {position} is not constant")
    zeros = node.tensor(ZEROS) if node.given(ZEROS) else None
    bias = node.tensor(BIAS) if node.given(BIAS) else None
    width, bits, block = node.attribute("K"), node.attribute("bits", 4), node.attribute("block_size")
    weight = unpacked(node.tensor(1), node.tensor(2), zeros, width, bits, block)
    form = "by ".join(node.name(position) for position in (2, ZEROS) if node.given(position))
    return linear(builder, node, node.input(0), form, weight, bias)


def unpacked(packed: Tensor, scales: Tensor, zeros: Tensor | None, width: int, bits: int, block: int) -> Tensor:
    """The weights that blocks of integers stand for: (integer - zero point) * scale.

    Args:
        packed: (out, blocks, bytes) uint8, the lower bits first.
        scales: one number for each row and block.
        zeros: as many, themselves packed if they are uint8; half the range if left out.
        width: of a row; the last block may be filled up.
        bits: 2, 4 or 8, of an integer.
        block: integers in a block.

    Returns:
        (out, width)

    Raises:
        Unsupported: integers that share bytes unevenly.
    """
    if bits not in (2, 4, 8):
        raise Unsupported(f"MatMulNBits of {bits} bits")
    out, blocks = packed.shape[:2]
    check_allocation([out, blocks, block])
    integers = _integers(packed, bits)[..., :block].float()
    if zeros is None:
        middle: Tensor | float = 2.0 ** (bits - 1)
    elif zeros.dtype == torch.uint8:
        middle = _integers(zeros.reshape(out, -1), bits)[:, :blocks, None].float()
    else:
        middle = zeros.reshape(out, blocks, 1)
    return ((integers - middle) * scales.reshape(out, blocks, 1)).reshape(out, -1)[:, :width]


def _integers(packed: Tensor, bits: int) -> Tensor:
    return torch.from_numpy(split_bits(packed.numpy(), bits))
