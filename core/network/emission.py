"""An emitter that knows the opset and the storage type of the network it writes for."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from core.formulas import Emitter, Formula


class Emission(Emitter):
    """Nodes and initialisers of one exported network.

    Attributes:
        opset: the version of the standard operators that is written.
        float_type: storage type of the network's floats (onnx.TensorProto.DataType).
        dense: whether weights are written as plain numbers in place of their formulas.
        held: numbers of the initialisers that have none, by name.
    """

    def __init__(
        self, opset: int, float_type: int = TensorProto.FLOAT, taken: Iterable[str] = (), dense: bool = False
    ) -> None:
        super().__init__(taken)
        self.opset = opset
        self.float_type = float_type
        self.dense = dense
        self.held: dict[str, Tensor] = {}
        self._shared: dict[tuple[int, bool], str] = {}

    def floats(self, name: str, tensor: Tensor) -> str:
        """Store a float tensor in the network's storage type; returns the value's name."""
        name = self.fresh(name)
        self.initializers.append(TensorProto(name=name, data_type=self.float_type, dims=tensor.shape))
        self.held[name] = tensor.detach()
        return name

    def constant(self, name: str, tensor: Tensor) -> str:
        """Store a tensor of any type."""
        return self.floats(name, tensor) if tensor.is_floating_point() else self.initializer(name, tensor.cpu().numpy())

    def ints(self, name: str, values: Sequence[int]) -> str:
        """Store a list of int64, such as axes or a shape; returns the value's name."""
        return self.initializer(name, np.asarray(values, dtype=np.int64))

    def scalar(self, name: str, value: float) -> str:
        """Store one float in the network's storage type."""
        return self.floats(name, torch.tensor(value))

    def formula(self, formula: Formula, name: str) -> str:
        """Write a weight's formula; returns the name of the dense value, in the network's storage type."""
        dense = formula.emit(self, name)
        if self.float_type == TensorProto.FLOAT:
            return dense
        return self.node("Cast", [dense], name=f"{name}/stored", to=self.float_type)

    def once(self, key: object, form: bool, write: Callable[[], str]) -> str:
        """Write what several layers share a single time; `key` is the shared object."""
        known = (id(key), form)
        if known not in self._shared:
            self._shared[known] = write()
        return self._shared[known]

    def written(self, key: object, form: bool) -> str | None:
        """What `once` wrote."""
        return self._shared.get((id(key), form))
