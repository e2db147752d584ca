"""Small networks to import, and the reference to compare with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

FLOAT = TensorProto.FLOAT


def run_onnx(model: ModelProto | Path, inputs: dict[str, np.ndarray], optimised: bool = True) -> list[np.ndarray]:
    """Outputs of onnxruntime."""
    return run_each(model, [inputs], optimised)[0]


def run_each(
    model: ModelProto | Path, batches: Sequence[dict[str, np.ndarray]], optimised: bool = True
) -> list[list[np.ndarray]]:
    """Outputs of one session for each of several inputs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    data = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return [cast(list[np.ndarray], session.run(None, inputs)) for inputs in batches]


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str] = ("y",),
    constants: dict[str, Any] | None = None,
    opset: int = 17,
    ir_version: int = 8,
    types: dict[str, int] | None = None,
) -> ModelProto:
    """A model of float inputs and outputs, unless `types` says otherwise; shapes of outputs are inferred."""
    types = types or {}
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, types.get(name, FLOAT), shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, types.get(name, FLOAT), None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )
    versions = {"": opset, **{node.domain: 1 for node in nodes if node.domain}}
    imports = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=ir_version)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=all(node.op_type != "Range" for node in nodes))
    for value, found in zip(model.graph.output, inferred.graph.output, strict=True):
        value.type.tensor_type.shape.CopyFrom(found.type.tensor_type.shape)
    return model


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Block(nn.Module):
    """A residual block with a depthwise convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.conv2(torch.relu(self.bn1(self.conv1(x)))))


class SmallNet(nn.Module):
    """Residual, concat, pooling, flatten, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.block1 = Block(8)
        self.pool = nn.MaxPool2d(2)
        self.block2 = Block(8)
        self.drop = nn.Dropout(0.3)
        self.fc1 = nn.Linear(16, 12)
        self.fc2 = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.block1(self.stem(x)))
        x = torch.cat([x, self.block2(x)], 1)
        x = self.drop(x.mean((2, 3), keepdim=True).flatten(1))
        return self.fc2(torch.nn.functional.gelu(self.fc1(x.view(x.size(0), -1))))


def small_net(seed: int = 0) -> nn.Module:
    """A SmallNet with random batch-norm statistics, in eval mode."""
    torch.manual_seed(seed)
    network = SmallNet()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.weight)
    return network.eval()


def export_small_net(path: Path, *, dynamic: bool = True, keep_batch_norm: bool = True, seed: int = 0) -> Path:
    """SmallNet by torch's TorchScript exporter, input `x` (batch, 3, 16, 16), output `y` (batch, 5)."""
    mode = torch.onnx.TrainingMode.PRESERVE if keep_batch_norm else torch.onnx.TrainingMode.EVAL
    torch.onnx.export(
        small_net(seed),
        (torch.randn(1, 3, 16, 16),),
        str(path),
        input_names=["x"],
        output_names=["y"],
        dynamo=False,
        training=mode,
        do_constant_folding=not keep_batch_norm,
        dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}} if dynamic else None,
    )
    return path
