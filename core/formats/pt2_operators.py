"""Which operators a torch.export program may call: a list of names, because its loader would call anything.

torch resolves a node's target by `getattr` from `torch`, `math` or `operator`. Here it is one of ATen's core or
pointwise operators, a composite of these, or arithmetic on sizes; none that reads a file, gives a tensor other memory,
leaves memory as it was found, or makes anything but dense tensors.
"""

import re
from functools import cache

import torch

from modelpress.problem import ModelError

ATEN = re.compile(r"torch\.ops\.aten\.([A-Za-z_][A-Za-z0-9_]*)\.([A-Za-z0-9_]+)")

ARITHMETIC = {
    *(f"_operator.{name}" for name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "pos", "getitem")),
    *(f"_operator.{name}" for name in ("eq", "ne", "le", "ge", "lt", "gt", "and_", "or_")),
    *(f"torch.sym_{name}" for name in ("float", "int", "max", "min", "not")),
    "math.trunc",
}
"""On sizes. Neither powers nor shifts, whose results have no bound."""

COMPOSITE = """
    absolute adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d all aminmax argsort
    baddbmm batch_norm bilinear broadcast_tensors broadcast_to cdist channel_shuffle chunk concat concatenate contiguous
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d copy cosine_similarity cross
    detach diff divide dot dropout einsum expand_as eye feature_dropout fill flatten
    floor_divide frobenius_norm glu greater greater_equal grid_sampler group_norm gru gru_cell hardswish index_add
    index_copy index_fill inner instance_norm isclose layer_norm less less_equal lift_fresh_copy linalg_norm
    linalg_vector_norm linear linspace log_sigmoid log_softmax logsumexp lstm lstm_cell masked_fill matmul max_pool1d
    max_pool2d max_pool3d meshgrid movedim multiply mv narrow negative new_full new_ones new_zeros norm not_equal
    one_hot ones ones_like outer pad pixel_shuffle pixel_unshuffle prelu relu6 repeat_interleave reshape reshape_as
    rms_norm rnn_relu rnn_tanh roll scaled_dot_product_attention selu softmax split square stack std subtract swapaxes
    t take_along_dim tensor_split tile to trace transpose tril triu type_as unbind unflatten unfold
    upsample_bicubic2d upsample_linear1d upsample_nearest1d upsample_nearest3d upsample_trilinear3d
    view_as zeros zeros_like
"""
UNDERSCORED = """
    _adaptive_avg_pool2d _adaptive_avg_pool3d _assert_scalar _assert_tensor_metadata _log_softmax
    _native_batch_norm_legit_no_training _safe_softmax _softmax _to_copy _unsafe_view
"""
NEVER = "empty empty_like empty_strided from_file resize set set_data"
composite, underscored, never = (frozenset(names.split()) for names in (COMPOSITE, UNDERSCORED, NEVER))


@cache
def check_operator(target: str) -> str:
    """The target, where it may be called. Raises ModelError."""
    if target in ARITHMETIC or _is_safe(target):
        return target
    raise ModelError(
        f"the program calls {target[:100]!r}, which is not among the operators that a .pt2 file may use",
        hint="Export the module with torch.onnx.export on your own machine and upload the .onnx file.",
    )


def _is_safe(target: str) -> bool:
    found = ATEN.fullmatch(target)
    if not found:
        return False
    name, overload = found.groups()
    plain = name.removesuffix("_")
    if plain in never or "backward" in name or "out" in overload:
        return False
    if name.startswith("_"):
        return name in underscored and _exists(name, overload)
    return (plain in composite or _is_basic(plain)) and _exists(name, overload)


@cache
def _is_basic(name: str) -> bool:
    """Whether ATen tags an operator of the name as core or pointwise."""
    packet = getattr(torch.ops.aten, name, None)
    if not isinstance(packet, torch._ops.OpOverloadPacket):
        return False
    tags = {tag for overload in packet.overloads() for tag in getattr(packet, overload).tags}
    return torch.Tag.core in tags or torch.Tag.pointwise in tags


def _exists(name: str, overload: str) -> bool:
    packet = getattr(torch.ops.aten, name, None)
    return isinstance(packet, torch._ops.OpOverloadPacket) and overload in packet.overloads()
