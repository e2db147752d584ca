"""An operator without a torch builder: onnxruntime runs it, no gradient flows through it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, helper
from torch import Tensor, fx, nn

from core.network.emission import Emission
from core.network.protos import opset_of, renamed_copy
from core.network.registry import Call, emits
from core.network.runtime import Held, inside, open_session, outside, run_session
from modelpress.problem import ModelError, OutOfTime, UnsoundError

Types = tuple[bytes, ...]


class OpaqueNode(nn.Module):
    """One ONNX node as a module of its changing inputs; constants are inside.

    Attributes:
        node: the node as it came.
        arguments: names of the inputs that change, in the order of the call.
    """

    def __init__(
        self,
        node: NodeProto,
        constants: Sequence[TensorProto],
        types: Mapping[str, TypeProto | None],
        model: ModelProto,
        running: NodeProto | None = None,
    ) -> None:
        """
        Args:
            node: as it came.
            constants: inputs that never change.
            types: of each other input by name, in the order of the call; None where unknown.
            model: whose opsets hold.
            running: what is run and written, where that is not the node as it came.
        """
        super().__init__()
        self.node = node
        self.running = running or node
        self.arguments = list(types)
        self.constants = list(constants)
        self._types = dict(types)
        self._opsets = list(model.opset_import)
        self._ir_version = max(model.ir_version, 4)
        self._is_sized = False
        self._sessions: dict[Types, onnxruntime.InferenceSession] = {}

    @property
    def op_type(self) -> str:
        return self.node.op_type

    @property
    def opset(self) -> int:
        return opset_of(self._opsets)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_sessions": {}}  # a session can't be copied; the copy opens its own

    def extra_repr(self) -> str:
        return self.op_type

    def forward(self, *inputs: Held) -> Held | tuple[Held, ...]:
        """The outputs that have names.

        Raises:
            ModelError: onnxruntime can't run it.
        """
        given = zip(self.arguments, inputs, strict=True)
        results = self._run({name: outside(value, self._types[name]) for name, value in given})
        device = next((one.device for one in inputs if isinstance(one, Tensor) and one.device.type != "cpu"), None)
        held = tuple(inside(result) for result in results)
        if device is not None:
            held = tuple(one.to(device) if isinstance(one, Tensor) else one for one in held)
        return held[0] if len(held) == 1 else held

    def _run(self, feeds: Mapping[str, Any]) -> list[Any]:
        """With free sizes; once that fails always with given ones, which operators defined by functions may need."""
        try:
            if not self._is_sized:
                try:
                    return run_session(self._session(feeds, is_sized=False), feeds)
                except OutOfTime:
                    raise
                except Exception:  # onnxruntime's exceptions have no common base but Exception
                    self._is_sized = True
            return run_session(self._session(feeds, is_sized=True), feeds)
        except OutOfTime as error:
            raise OutOfTime(f"{self._called}: {error.detail}", hint="Is it a loop without end?") from error
        except Exception as error:
            raise ModelError(f"onnxruntime can't run {self._called}: {str(error)[:300]}") from error

    @property
    def _called(self) -> str:
        return f"{self.op_type} node {self.node.name or '/'.join(self.node.output)!r}"

    def _session(self, feeds: Mapping[str, Any], *, is_sized: bool) -> onnxruntime.InferenceSession:
        kinds = [_type_of(value, self._types[name], is_sized) for name, value in feeds.items()]
        key = tuple(kind.SerializeToString() for kind in kinds)
        if key not in self._sessions:
            self._sessions[key] = open_session(self._model(kinds))
        return self._sessions[key]

    def _model(self, kinds: Sequence[TypeProto]) -> ModelProto:
        pairs = zip(self.arguments, kinds, strict=True)
        inputs = [ValueInfoProto(name=name, type=kind) for name, kind in pairs]
        outputs = [ValueInfoProto(name=name) for name in self.node.output if name]
        graph = helper.make_graph([self.running], "opaque", inputs, outputs, self.constants)
        return helper.make_model(graph, opset_imports=self._opsets, ir_version=self._ir_version)


def is_opaque(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether onnxruntime runs a node of the normal form."""
    return node.op == "call_module" and isinstance(graph.get_submodule(str(node.target)), OpaqueNode)


def _type_of(value: Any, known: TypeProto | None, is_sized: bool) -> TypeProto:
    """What a session is told of an input: of a tensor the rank, or the sizes."""
    if known is not None and not known.HasField("tensor_type"):
        return without_shape(known)
    if isinstance(value, list):
        return helper.make_sequence_type_proto(_type_of(np.asarray(value[0]), None, is_sized=False))
    sizes = list(value.shape) if is_sized else [None] * value.ndim
    return helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), sizes)


def without_shape(kind: TypeProto) -> TypeProto:
    """A type that says nothing of sizes, at any depth."""
    copy = TypeProto()
    copy.CopyFrom(kind)
    inner = copy
    while inner.WhichOneof("value") in ("sequence_type", "optional_type"):
        inner = getattr(inner, str(inner.WhichOneof("value"))).elem_type
    inner.tensor_type.ClearField("shape")
    return copy


@emits(OpaqueNode)
def emit_opaque(out: Emission, call: Call) -> tuple[str, ...]:
    """The node as it came, with the values that now stand at its inputs.

    Raises:
        UnsoundError: another opset is written, in which the node may mean another thing.
    """
    module = call.module
    assert isinstance(module, OpaqueNode)
    if out.opset != module.opset:
        raise UnsoundError(f"{module.op_type} of opset {module.opset} can't be written in opset {out.opset}")
    names = dict(zip(module.arguments, call.inputs, strict=True))
    for constant in module.constants:
        names[constant.name] = out.fresh(f"{call.base}/{constant.name}")
        stored = TensorProto()
        stored.CopyFrom(constant)
        stored.name = names[constant.name]
        out.initializers.append(stored)
    outputs = {name: out.fresh(f"{call.base}/{name}") for name in module.node.output if name}
    copy = renamed_copy(module.running, names, outputs)
    copy.name = call.base
    out.nodes.append(copy)
    return tuple(outputs.values())
