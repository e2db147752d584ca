"""Normalisations over channels and places: BatchNormalization as torch's layer, the rest as functions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.network.blank import blank
from core.network.emission import Emission
from core.network.importer import Builder
from core.network.onnx_node import OnnxNode
from core.network.ops.weights import emit_weight
from core.network.registry import ARITHMETIC, Call, emits, operator
from core.network.unsupported import Unsupported
from core.network.values import Value

BATCH_NORM = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


class BatchNormAnyRank(nn.BatchNorm2d):
    """For a value whose number of axes is not known before it is computed."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Any rank will do."""


@operator("BatchNormalization")
def build_batch_norm(builder: Builder, node: OnnxNode) -> Value:
    """In eval mode, with the statistics of the file; ONNX's momentum is 1 minus torch's."""
    node.only("epsilon", "momentum", "spatial", "training_mode", "is_test", "consumed_inputs")
    if node.attribute("epsilon", 1e-5) < 0:
        raise Unsupported("BatchNormalization with a negative epsilon")
    if node.attribute("training_mode", 0) or not node.attribute("spatial", 1) or node.extra_outputs():
        raise Unsupported("BatchNormalization in training mode or over each place by itself")
    tensors = [node.tensor(position) for position in range(1, 5)]
    if any(tensor.dim() != 1 for tensor in tensors):
        raise Unsupported("BatchNormalization with other than vectors")
    rank = node.rank(0)
    if rank is not None and rank < 2:
        raise Unsupported("BatchNormalization of a vector")
    kind = BATCH_NORM.get(rank, BatchNormAnyRank) if rank is not None else BatchNormAnyRank
    momentum = round(1.0 - node.attribute("momentum", 0.9), 6)
    module = blank(kind, len(tensors[0]), eps=node.attribute("epsilon", 1e-5), momentum=momentum)
    module.weight = builder.parameter(node, 1)
    module.bias = builder.parameter(node, 2)
    module.running_mean = builder.own(tensors[2])
    module.running_var = builder.own(tensors[3])
    return builder.module(module.eval(), node.input(0), layer=node.layer)


@emits(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
def emit_batch_norm(out: Emission, call: Call) -> str:
    module = call.module
    assert isinstance(module, nn.modules.batchnorm._BatchNorm)
    if module.running_mean is None or not module.affine:
        raise TypeError(f"{call.layer}: a batch normalisation needs statistics, weight and bias")
    inputs = [emit_weight(out, call, tensor) for tensor in ("weight", "bias", "running_mean", "running_var")]
    momentum = 1.0 - (0.1 if module.momentum is None else module.momentum)
    return out.node(
        "BatchNormalization", [*call.inputs, *inputs], name=call.base, epsilon=module.eps, momentum=momentum
    )


def instance_norm(x: Tensor, scale: Tensor, bias: Tensor, *, eps: float) -> Tensor:
    """Each channel of each sample by itself; torch's own refuses a single place, and no samples."""
    return torch.group_norm(x, x.shape[1], scale, bias, eps)


ARITHMETIC.add(instance_norm)


@operator("InstanceNormalization")
def build_instance_norm(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(instance_norm, *node.inputs(), eps=node.attribute("epsilon", 1e-5))


@emits(instance_norm)
def emit_instance_norm(out: Emission, call: Call) -> str:
    return out.node("InstanceNormalization", call.inputs, name=call.base, epsilon=call.kwargs["eps"])


def lrn(x: Tensor, *, size: int, alpha: float, beta: float, bias: float) -> Tensor:
    """Krizhevsky et al. 2012, section 3.3: each value over a power of the mean square of `size` channels around it."""
    squares = x.square().flatten(2).unsqueeze(1)  # (n, 1, c, places)
    reach = min(size, 2 * x.shape[1] + 1)  # a wider window sees nothing more
    before = (reach - 1) // 2
    padded = F.pad(squares, (0, 0, before, reach - 1 - before))
    mean = F.avg_pool2d(padded, (reach, 1), stride=1).reshape(x.shape) * (reach / size)
    return x / (bias + alpha * mean) ** beta


@operator("LRN")
def build_lrn(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(
        lrn,
        node.input(0),
        size=node.attribute("size"),
        alpha=node.attribute("alpha", 1e-4),
        beta=node.attribute("beta", 0.75),
        bias=node.attribute("bias", 1.0),
    )


@emits(lrn)
def emit_lrn(out: Emission, call: Call) -> str:
    return out.node("LRN", call.inputs, name=call.base, **call.kwargs)


def lp_normalize(x: Tensor, *, axis: int, p: int) -> Tensor:
    """To length 1; zeros stay, and have a gradient."""
    length = torch.linalg.vector_norm(x, float(p), dim=axis, keepdim=True)
    return x / torch.where(length > 0, length, 1.0)


@operator("LpNormalization")
def build_lp_normalize(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(lp_normalize, node.input(0), axis=node.attribute("axis", -1), p=node.attribute("p", 2))


@emits(lp_normalize)
def emit_lp_normalize(out: Emission, call: Call) -> str:
    return out.node("LpNormalization", call.inputs, name=call.base, **call.kwargs)
