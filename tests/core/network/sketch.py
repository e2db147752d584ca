"""Random graphs in the making: values with their shapes, constants, and nodes that are appended."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, helper

from tests.core.network.models import model_of

T = TypeVar("T")

CHANNELS, SIZE = 4, 6
OPSET, IR_VERSION = 24, 12


@dataclass(frozen=True)
class Value:
    """A float value; `shape` is one sample's, without the batch axis in front.

    Three axes are an image (channels, height, width), two are tokens (places, features), one is a vector.
    """

    name: str
    shape: tuple[int, ...]

    @property
    def feature_axis(self) -> int:
        """The axis of the channels, counted with the batch axis."""
        return 1 if len(self.shape) == 3 else len(self.shape)


@dataclass
class Sketch:
    """Every step reads values and appends what it makes; `x` is the input, (batch, CHANNELS, SIZE, SIZE)."""

    draw: st.DrawFn
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    values: list[Value] = field(default_factory=lambda: [Value("x", (CHANNELS, SIZE, SIZE))])

    def one_of(self, *choices: T) -> T:
        return self.draw(st.sampled_from(choices))

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    # constants

    def weight(self, *shape: int) -> str:
        """A matrix or filters, uniform with variance 1 / fan-in; the fan-in is all but the first axis."""
        return self._constant(self._random().uniform(-1.7, 1.7, shape) / math.sqrt(math.prod(shape[1:]) or 1))

    def vector(self, *shape: int, low: float = -1.0, high: float = 1.0) -> str:
        return self._constant(self._random().uniform(low, high, shape))

    def scalar(self, value: float) -> str:
        return self._constant(np.array(value))

    def integers(self, *values: int) -> str:
        return self._constant(np.array(values, np.int64))

    def integer(self, value: int) -> str:
        return self._constant(np.array(value, np.int64))

    def typed(self, value: np.ndarray) -> str:
        """A constant of the array's own type."""
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        return name

    def _constant(self, value: np.ndarray) -> str:
        return self.typed(value if value.dtype == np.int64 else value.astype(np.float32))

    def _random(self) -> np.random.Generator:
        return np.random.default_rng(len(self.constants))

    # nodes

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Appends an operator, `com.microsoft.Gelu` if it is not of the standard; returns its first output."""
        domain, _, kind = op.rpartition(".")
        name = f"v{len(self.nodes)}"
        names = [name, *(f"{name}_{k}" for k in range(1, outputs))]
        self.nodes.append(helper.make_node(kind, inputs, names, name=f"{kind}_{name}", domain=domain, **attributes))
        return name

    def add(self, op: str, *inputs: str, shape: tuple[int, ...], outputs: int = 1, **attributes: Any) -> Value:
        """A node whose first output is a value that others may read."""
        return self.keep(self.node(op, *inputs, outputs=outputs, **attributes), shape)

    def keep(self, name: str, shape: tuple[int, ...]) -> Value:
        value = Value(name, shape)
        self.values.append(value)
        return value

    def reshape(self, name: str, shape: tuple[int, ...]) -> str:
        return self.node("Reshape", name, self.integers(0, *shape))

    def exact(self, rank: int) -> str:
        """A number of the input of each sample, for what jumps: (batch, 1, ...) with `rank` axes after the batch."""
        place = [self.number(0, CHANNELS - 1), self.number(0, SIZE - 1), self.number(0, SIZE - 1)]
        starts, ends = self.integers(*place), self.integers(*(k + 1 for k in place))
        return self.reshape(self.node("Slice", "x", starts, ends, self.integers(1, 2, 3)), (1,) * rank)

    def finish(self) -> ModelProto:
        """A linear layer on the last value, whatever it is."""
        last = self.values[-1]
        flat = self.node("Flatten", last.name)
        self.nodes.append(
            helper.make_node(
                "Gemm", [flat, self.weight(3, math.prod(last.shape)), self.vector(3)], ["y"], name="last", transB=1
            )
        )
        model = model_of(
            self.nodes,
            {"x": ["batch", CHANNELS, SIZE, SIZE]},
            constants=self.constants,
            opset=OPSET,
            ir_version=IR_VERSION,
        )
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        return model


MAX_NUMBERS = 2000
"""Steps that make a value larger leave it alone beyond this."""


def small(value: Value) -> bool:
    return int(np.prod(value.shape)) * 4 <= MAX_NUMBERS


def even(value: Value) -> bool:
    """Whether the channels can be halved."""
    return value.shape[value.feature_axis - 1] % 2 == 0


def along_channels(sketch: Sketch, x: Value, low: float = -1.0) -> str:
    """A constant that broadcasts along the channels."""
    size = x.shape[x.feature_axis - 1]
    return sketch.vector(size, 1, 1, low=low) if len(x.shape) == 3 else sketch.vector(size, low=low)


@dataclass(frozen=True)
class Step:
    """One way to go on: the operators it may use, and what it asks of the value that it reads."""

    operators: frozenset[str]
    takes: Callable[[Value], bool]
    make: Callable[[Sketch, Value], object]


STEPS: list[Step] = []


def step(
    *operators: str, rank: int | None = None, when: Callable[[Value], bool] = lambda _: True
) -> Callable[[Callable[[Sketch, Value], object]], Callable[[Sketch, Value], object]]:
    """Register a step that uses these operators, on values of that rank."""

    def register(make: Callable[[Sketch, Value], object]) -> Callable[[Sketch, Value], object]:
        takes = lambda value: (rank is None or len(value.shape) == rank) and when(value)  # noqa: E731  one expression
        STEPS.append(Step(frozenset(operators), takes, make))
        return make

    return register
