"""Matrix products: layers where one operand is constant, functions where none is."""

import torch
from torch import Tensor, nn

from core.network.blank import blank
from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.arithmetic import add, mul
from core.network.ops.shape import transpose
from core.network.ops.simple import plain
from core.network.ops.weights import emit_weight
from core.network.registry import ARITHMETIC, PRODUCTS, Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Constant, Value

FUSED = ("activation", "activation_alpha", "activation_beta", "activation_gamma")
"""What onnxruntime's fused Gemm has besides; see `fused.py`."""


def matmul(a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(a, b)


plain("MatMul", matmul)
PRODUCTS.add(matmul)
ARITHMETIC.add(matmul)


def linear(
    builder: Builder, node: OnnxNode, x: Value, form: str, weight: Tensor, bias: Tensor | None, position: int = 1
) -> Value:
    """A Linear layer. `weight` is (out, in), made of the node's input at `position`, `bias` (out,)."""
    module = blank(nn.Linear, weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    module.weight = builder.parameter(node, position, form, weight)
    if bias is not None:
        module.bias = nn.Parameter(builder.own(bias))
    return builder.module(module, x, layer=node.layer)


@operator("MatMul")
def build_matmul(builder: Builder, node: OnnxNode) -> Value:
    if node.is_constant(1) and not node.is_constant(0):
        weight = node.tensor(1)
        if weight.dim() == 2 and weight.is_floating_point():
            return linear(builder, node, node.input(0), "transposed", weight.T, None)
    return _product(builder, node, node.input(0), node.input(1), node.rank(1) or 0, "")


def _product(builder: Builder, node: OnnxNode, a: Value, b: Value, rank: int, form: str) -> Value:
    """a b; of a constant matrix a, it is the transpose of a layer of the transpose of b.

    Args:
        rank: of b; 0 where it is unknown.
        form: what was done to the initialiser of which a is made.
    """
    if not isinstance(a, Constant) or isinstance(b, Constant) or rank < 2 or not _is_matrix(a.tensor):
        return builder.call(matmul, a, b)
    swap = [*range(rank - 2), rank - 1, rank - 2]
    flipped = builder.call(transpose, b, perm=swap)
    return builder.call(transpose, linear(builder, node, flipped, form, a.tensor, None, position=0), perm=swap)


def _is_matrix(weight: Tensor) -> bool:
    return weight.dim() == 2 and weight.is_floating_point() and min(weight.shape) > 1


@operator("Gemm")
def build_gemm(builder: Builder, node: OnnxNode) -> Value:
    node.only("alpha", "beta", "transA", "transB", "broadcast", *FUSED)
    alpha, beta = node.attribute("alpha", 1.0), node.attribute("beta", 1.0)
    x = node.input(0)
    if node.attribute("transA", 0):
        x = builder.call(transpose, x, perm=[1, 0])
    if not node.is_constant(1) or node.is_constant(0):
        return _general(builder, node, x, alpha, beta)
    flipped = bool(node.attribute("transB", 0))
    if node.tensor(1).dim() != 2:
        raise Unsupported(f"Gemm with a weight of {node.tensor(1).dim()} axes")
    weight = node.tensor(1) if flipped else node.tensor(1).T
    if alpha != 1.0:
        weight = weight * alpha
    bias = _bias(node, weight.shape[0], beta)
    form = "" if flipped else "transposed"
    y = linear(builder, node, x, form if alpha == 1.0 else f"{form} times {alpha}", weight, bias)
    if node.given(2) and bias is None:
        return builder.call(add, y, _scaled(builder, node.input(2), beta))
    return y


def _bias(node: OnnxNode, width: int, beta: float) -> Tensor | None:
    """The addend as a (width,) bias; None where there is none or it is none."""
    if not node.is_constant(2):
        return None
    addend = node.tensor(2)
    if addend.dim() > 2 or (addend.dim() == 2 and addend.shape[0] != 1):
        return None
    return (addend * beta).reshape(-1).expand(width)


def _general(builder: Builder, node: OnnxNode, x: Value, alpha: float, beta: float) -> Value:
    weight = node.input(1)
    if node.attribute("transB", 0):
        weight = builder.call(transpose, weight, perm=[1, 0])
    form = "transposed" if node.attribute("transA", 0) else ""
    y = _scaled(builder, _product(builder, node, x, weight, 2, form), alpha)
    return builder.call(add, y, _scaled(builder, node.input(2), beta)) if node.given(2) else y


def _scaled(builder: Builder, value: Value, factor: float) -> Value:
    return value if factor == 1.0 else builder.call(mul, value, builder.constant(torch.tensor(factor)))


def product_name(value: str) -> str:
    """What the product is called to which a bias is added to make `value`."""
    return f"{value}/product"


@emits(nn.Linear)
def emit_linear(out: Emission, call: Call) -> str:
    """Gemm where the layer came from one, else MatMul and Add, which take any rank."""
    module = call.module
    assert isinstance(module, nn.Linear)
    if call.node.meta.get("kind") == "Gemm":
        weight = emit_weight(out, call, "weight")
        bias = [emit_weight(out, call, "bias")] if module.bias is not None else []
        if not bias and out.opset < 11:  # which had no Gemm without an addend
            bias = [out.floats(f"{call.base}/zero", torch.zeros(1))]
        return out.node("Gemm", [*call.inputs, weight, *bias], name=call.base, transB=1)
    weight = emit_weight(out, call, "weight", transposed=True)
    if module.bias is None:
        return out.node("MatMul", [*call.inputs, weight], name=call.base)
    product = out.node("MatMul", [*call.inputs, weight], name=product_name(call.base))
    return out.node("Add", [product, emit_weight(out, call, "bias")], name=call.base)
