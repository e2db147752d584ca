"""An operator without a torch builder: onnxruntime runs it, no gradient flows through it."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from core.network.tensors import ONNX_TYPE, compute_type, numpy_type
from modelpress.problem import ModelError


class OpaqueNode(nn.Module):
    """One ONNX node as a module of its changing inputs; constants are inside.

    Attributes:
        node: the node as it came.
        arguments: names of the inputs that change, in the order of the call.
    """

    def __init__(
        self,
        node: NodeProto,
        constants: Mapping[str, TensorProto | Tensor],
        types: Mapping[str, int],
        model: ModelProto,
    ) -> None:
        """
        Args:
            constants: inputs that never change, by name.
            types: element type of each other input by name, in the order of the call; 0 where unknown.
            model: whose opsets hold.
        """
        super().__init__()
        self.node = node
        self.arguments = list(types)
        self._types = dict(types)
        self._opsets = list(model.opset_import)
        self._ir_version = max(model.ir_version, 4)
        self._constants = [_as_proto(name, tensor) for name, tensor in constants.items()]
        self._sessions: dict[tuple[int, ...], onnxruntime.InferenceSession] = {}

    @property
    def op_type(self) -> str:
        return self.node.op_type

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_sessions": {}}  # a session can't be copied; the copy opens its own

    def extra_repr(self) -> str:
        return self.op_type

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        device = inputs[0].device if inputs else torch.device("cpu")
        types = tuple(
            self._types[name] or ONNX_TYPE[tensor.dtype] for name, tensor in zip(self.arguments, inputs, strict=True)
        )
        feeds = {
            name: np.asarray(tensor.detach().cpu().numpy(), dtype=helper.tensor_dtype_to_np_dtype(kind))
            for name, tensor, kind in zip(self.arguments, inputs, types, strict=True)
        }
        results = self._session(types).run(None, feeds)
        tensors = tuple(_inside(np.asarray(result)).to(device) for result in results)
        return tensors[0] if len(tensors) == 1 else tensors

    def _session(self, types: tuple[int, ...]) -> onnxruntime.InferenceSession:
        if types not in self._sessions:
            self._sessions[types] = open_session(self._model(types))
        return self._sessions[types]

    def _model(self, types: tuple[int, ...]) -> ModelProto:
        inputs = [
            helper.make_tensor_value_info(name, kind, None) for name, kind in zip(self.arguments, types, strict=True)
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in self.node.output if name]
        graph = helper.make_graph([self.node], "opaque", inputs, outputs, self._constants)
        return helper.make_model(graph, opset_imports=self._opsets, ir_version=self._ir_version)


def open_session(model: ModelProto) -> onnxruntime.InferenceSession:
    """A CPU session on one thread.

    Raises:
        ModelError: onnxruntime can't run it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base but Exception
        node = model.graph.node[0]
        raise ModelError(f"onnxruntime can't run {node.op_type} node {node.name!r}: {str(error)[:300]}") from error


def _as_proto(name: str, tensor: TensorProto | Tensor) -> TensorProto:
    return tensor if isinstance(tensor, TensorProto) else numpy_helper.from_array(tensor.numpy(), name)


def _inside(array: np.ndarray) -> Tensor:
    kind = compute_type(helper.np_dtype_to_tensor_dtype(array.dtype))
    return torch.from_numpy(np.array(array, dtype=numpy_type(kind), copy=True))
