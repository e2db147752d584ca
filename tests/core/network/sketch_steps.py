"""Steps of random graphs on values of any shape. Numbers stay of the order of one; what jumps reads the input."""

import numpy as np
from onnx import TensorProto

from tests.core.network.sketch import CHANNELS, SIZE, Sketch, Value, along_channels, even, small, step

# element by element

SMOOTH = (
    *("Abs", "Atan", "Asinh", "Celu", "Cos", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "Identity"),
    *("LeakyRelu", "Mish", "Neg", "Relu", "Selu", "Sigmoid", "Sin", "Softplus", "Softsign", "Swish", "Tanh"),
    *("com.microsoft.Gelu", "com.microsoft.QuickGelu", "com.microsoft.FastGelu"),
)
BELOW_ONE = ("Acos", "Asin", "Atanh", "Cosh", "Exp", "Sinh", "Tan")
ABOVE_ONE = ("Acosh", "Log", "Reciprocal", "Sqrt")
"""Operators of one tensor, by where they are smooth and stay small."""


@step(*SMOOTH, *BELOW_ONE, *ABOVE_ONE)
def unary(sketch: Sketch, x: Value) -> None:
    op = sketch.one_of(*SMOOTH, *BELOW_ONE, *ABOVE_ONE)
    argument = x.name
    if op in BELOW_ONE:
        argument = sketch.node("Mul", sketch.node("Tanh", x.name), sketch.scalar(0.9))
    elif op in ABOVE_ONE:
        argument = sketch.node("Add", sketch.node("Abs", x.name), sketch.scalar(1.1))
    sketch.add(op, argument, shape=x.shape)


@step("PRelu", "Clip", "Dropout", "com.microsoft.BiasGelu", "Cast", "CastLike")
def activation(sketch: Sketch, x: Value) -> None:
    kind = sketch.one_of("PRelu", "Clip", "Dropout", "BiasGelu", "Cast", "CastLike")
    if kind == "PRelu":
        sketch.add(kind, x.name, along_channels(sketch, x), shape=x.shape)
    elif kind == "Clip":
        sketch.add(kind, x.name, sketch.scalar(-0.5), sketch.scalar(1.5), shape=x.shape)
    elif kind == "BiasGelu":
        sketch.add("com.microsoft.BiasGelu", x.name, sketch.vector(x.shape[-1]), shape=x.shape)
    elif kind == "Cast":
        sketch.add(kind, x.name, shape=x.shape, to=TensorProto.FLOAT)
    elif kind == "CastLike":
        sketch.add(kind, x.name, "x", shape=x.shape)
    else:
        sketch.add(kind, x.name, shape=x.shape)


@step("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Sum", "Mean")
def with_constant(sketch: Sketch, x: Value) -> None:
    op = sketch.one_of("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Sum", "Mean")
    if op == "Pow":
        base = sketch.node("Add", sketch.node("Abs", x.name), sketch.scalar(0.5))
        sketch.add(op, sketch.node("Tanh", base), along_channels(sketch, x, low=0.5), shape=x.shape)
        return
    inputs = [x.name, along_channels(sketch, x, low=0.5 if op == "Div" else -1.0)]
    sketch.add(op, *(inputs if op == "Div" or sketch.one_of(True, False) else inputs[::-1]), shape=x.shape)


# joining and taking apart


@step("Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean", "Concat")
def join(sketch: Sketch, x: Value) -> None:
    """With an earlier value: element by element where the shapes are equal, else one after the other."""
    alike = [v for v in sketch.values if len(v.shape) == len(x.shape)]
    other = sketch.one_of(*alike)
    differing = [axis for axis in range(len(x.shape)) if other.shape[axis] != x.shape[axis]]
    if not differing and sketch.one_of(True, False):
        op = sketch.one_of("Add", "Sub", "Mul", "Max", "Min", "Sum", "Mean")
        sketch.add(op, x.name, other.name, shape=x.shape)
    elif len(differing) <= 1 and small(x) and small(other):
        axis = differing[0] if differing else x.feature_axis - 1
        shape = tuple(size + other.shape[k] if k == axis else size for k, size in enumerate(x.shape))
        sketch.add("Concat", x.name, other.name, shape=shape, axis=axis + 1)


@step("Split", "Concat", "Mul", "Sigmoid", when=even)
def split(sketch: Sketch, x: Value) -> None:
    axis, half = x.feature_axis, x.shape[x.feature_axis - 1] // 2
    shape = tuple(half if k == axis - 1 else size for k, size in enumerate(x.shape))
    uneven = half > 1 and sketch.one_of(True, False)
    sizes = [half - 1, half + 1] if uneven else [half, half]
    first = sketch.node("Split", x.name, sketch.integers(*sizes), outputs=2, axis=axis)
    if uneven or sketch.one_of(True, False):
        sketch.add("Concat", f"{first}_1", first, shape=x.shape, axis=axis)
    else:
        sketch.add("Mul", first, sketch.node("Sigmoid", f"{first}_1"), shape=shape)


@step("Slice", "Gather")
def part(sketch: Sketch, x: Value) -> None:
    axis = sketch.number(0, len(x.shape) - 1)
    size = x.shape[axis]
    if sketch.one_of(True, False):
        places = [sketch.number(0, size - 1) for _ in range(sketch.number(1, size))]
        shape = tuple(len(places) if k == axis else length for k, length in enumerate(x.shape))
        sketch.add("Gather", x.name, sketch.integers(*places), shape=shape, axis=axis + 1)
        return
    start, pace = sketch.number(0, size - 1), sketch.number(1, 2)
    end = sketch.one_of(size, 2**31)
    shape = tuple(-(-(size - start) // pace) if k == axis else length for k, length in enumerate(x.shape))
    bounds = [sketch.integers(value) for value in (start, end, axis + 1, pace)]
    sketch.add("Slice", x.name, *bounds, shape=shape)


@step("Transpose", "Unsqueeze", "Squeeze", when=lambda x: len(x.shape) > 1)
def turn(sketch: Sketch, x: Value) -> None:
    *rest, last = x.shape
    lifted = sketch.node("Unsqueeze", x.name, sketch.integers(1))  # (batch, 1, ..., last)
    rank = len(x.shape) + 2
    turned = sketch.node("Transpose", lifted, perm=[0, 1, rank - 1, *range(2, rank - 1)])
    sketch.add("Squeeze", turned, sketch.integers(1), shape=(last, *rest))


@step("Slice", "Expand", "Tile", "Mul", "ConstantOfShape", "Shape")
def spread(sketch: Sketch, x: Value) -> None:
    """The first channel over all channels, added."""
    axis = x.feature_axis
    first = sketch.node("Slice", x.name, *(sketch.integers(value) for value in (0, 1, axis)))
    how = sketch.one_of("Expand", "Expand by shape", "Tile", "ConstantOfShape")
    if how == "Expand":
        wide = sketch.node("Expand", first, sketch.integers(1, *x.shape))
    elif how == "Expand by shape":
        wide = sketch.node("Expand", first, sketch.node("Shape", x.name))
    elif how == "Tile":
        repeats = [x.shape[axis - 1] if k == axis else 1 for k in range(len(x.shape) + 1)]
        wide = sketch.node("Tile", first, sketch.integers(*repeats))
    else:
        wide = sketch.node("ConstantOfShape", sketch.node("Shape", x.name), value=_tensor(0.25))
    sketch.add("Add", x.name, wide, shape=x.shape)


def _tensor(value: float) -> TensorProto:
    return TensorProto(data_type=TensorProto.FLOAT, dims=[1], float_data=[value])


@step("Shape", "Slice", "Constant", "Concat", "Reshape", rank=3)
def computed_reshape(sketch: Sketch, x: Value) -> None:
    """Flattened as torch's exporter writes `x.view(x.size(0), -1)`."""
    batch = sketch.node("Shape", x.name, start=0, end=1)
    rest = sketch.node("Constant", value_ints=[-1])
    shape = sketch.node("Concat", batch, rest, axis=0)
    sketch.add("Reshape", x.name, shape, shape=(int(np.prod(x.shape)),))


@step("Size", "Cast", "Range", "Shape", "Gather", "Mul", "Add")
def counted(sketch: Sketch, x: Value) -> None:
    """Something small that follows from the sizes."""
    if sketch.one_of(True, False):
        size = sketch.node("Cast", sketch.node("Size", x.name), to=TensorProto.FLOAT)
    else:
        last = sketch.node("Gather", sketch.node("Shape", x.name), sketch.integer(-1))
        numbers = sketch.node("Range", sketch.integer(0), last, sketch.integer(1))
        size = sketch.node("Cast", numbers, to=TensorProto.FLOAT)
    sketch.add("Add", x.name, sketch.node("Mul", size, sketch.scalar(0.01)), shape=x.shape)


# along an axis


@step("Softmax", "LogSoftmax", "LpNormalization", "CumSum", "MeanVarianceNormalization")
def along_axis(sketch: Sketch, x: Value) -> None:
    op = sketch.one_of("Softmax", "LogSoftmax", "LpNormalization", "CumSum", "MeanVarianceNormalization")
    axis = sketch.number(1, len(x.shape))
    if op == "CumSum":
        sketch.add(op, x.name, sketch.integer(axis), shape=x.shape)
    elif op == "MeanVarianceNormalization":
        axes = list(range(1, len(x.shape) + 1))
        rough = sketch.node("Add", x.name, sketch.vector(*x.shape))
        sketch.add(op, rough, shape=x.shape, axes=axes)
    elif op == "LpNormalization":
        away = sketch.node("Add", sketch.node("Abs", x.name), sketch.scalar(0.5))
        sketch.add(op, away, shape=x.shape, axis=axis, p=sketch.one_of(1, 2))
    else:
        sketch.add(op, x.name, shape=x.shape, axis=axis)


REDUCTIONS = (
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin"),
    *("ReduceProd", "ReduceSum", "ReduceSumSquare"),
)


@step(*REDUCTIONS, "Div", "Add", "Abs", "Tanh")
def reduce(sketch: Sketch, x: Value) -> None:
    """Without the axis, or back onto it."""
    op, axis = sketch.one_of(*REDUCTIONS), sketch.number(1, len(x.shape))
    calm = sketch.node("Add", sketch.node("Abs", sketch.node("Tanh", x.name)), sketch.scalar(0.5))
    if len(x.shape) > 1 and sketch.one_of(True, False):
        shape = tuple(size for k, size in enumerate(x.shape, start=1) if k != axis)
        sketch.add("Tanh", sketch.node(op, calm, sketch.integers(axis), keepdims=0), shape=shape)
    else:
        reduced = sketch.node("Tanh", sketch.node(op, calm, sketch.integers(axis), keepdims=1))
        sketch.add("Add", x.name, reduced, shape=x.shape)


# what jumps


@step("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor", "Not", "Where", "IsNaN", "IsInf", "Equal")
def masked(sketch: Sketch, x: Value) -> None:
    rank = len(x.shape)
    compare = [sketch.one_of("Greater", "GreaterOrEqual", "Less", "LessOrEqual") for _ in range(2)]
    first, second = (sketch.node(op, sketch.exact(rank), sketch.scalar(0.1)) for op in compare)
    how = sketch.one_of("And", "Or", "Xor", "Not", "IsNaN", "IsInf", "Equal")
    if how in ("And", "Or", "Xor"):
        condition = sketch.node(how, first, second)
    elif how == "Not":
        condition = sketch.node(how, first)
    elif how == "Equal":
        steps = sketch.node("Cast", sketch.node("Floor", sketch.exact(rank)), to=TensorProto.INT64)
        condition = sketch.node(how, steps, sketch.integer(0))
    else:
        condition = sketch.node("Or", sketch.node(how, sketch.exact(rank)), first)
    sketch.add("Where", condition, x.name, sketch.node("Mul", x.name, sketch.scalar(0.5)), shape=x.shape)


@step("Ceil", "Floor", "Round", "Sign", "Mod", "Shrink", "ThresholdedRelu")
def stairs(sketch: Sketch, x: Value) -> None:
    op = sketch.one_of("Ceil", "Floor", "Round", "Sign", "Mod", "Shrink", "ThresholdedRelu")
    exact = sketch.exact(len(x.shape))
    jumps = sketch.node(op, exact, sketch.scalar(0.7), fmod=1) if op == "Mod" else sketch.node(op, exact)
    sketch.add("Add", x.name, jumps, shape=x.shape)


@step("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "Abs", "Cast", "Mul", "Add")
def bits(sketch: Sketch, x: Value) -> None:
    """The input as bytes, worked on and scaled back."""
    large = sketch.node("Mul", sketch.node("Abs", sketch.exact(len(x.shape))), sketch.scalar(20.0))
    number = sketch.node("Cast", large, to=TensorProto.UINT8)
    how = sketch.one_of("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot")
    if how == "BitShift":
        number = sketch.node(how, number, sketch.typed(np.array(2, np.uint8)), direction="RIGHT")
    elif how == "BitwiseNot":
        number = sketch.node(how, number)
    else:
        number = sketch.node(how, number, sketch.typed(np.array(0b10101100, np.uint8)))
    back = sketch.node("Cast", number, to=TensorProto.FLOAT)
    sketch.add("Add", x.name, sketch.node("Mul", back, sketch.scalar(0.01)), shape=x.shape)


@step("QuantizeLinear", "DequantizeLinear", "Add")
def quantised(sketch: Sketch, x: Value) -> None:
    scale, zero = sketch.scalar(0.05), sketch.typed(np.array(100, np.uint8))
    number = sketch.node("QuantizeLinear", sketch.exact(len(x.shape)), scale, zero)
    sketch.add("Add", x.name, sketch.node("DequantizeLinear", number, scale, zero), shape=x.shape)


@step("ArgMax", "ArgMin", "Gather", "Reshape", "Add")
def looked_up(sketch: Sketch, x: Value) -> None:
    """Rows of a table, by where the input is largest or smallest."""
    flat = sketch.reshape("x", (CHANNELS, SIZE * SIZE))
    place = sketch.node(sketch.one_of("ArgMax", "ArgMin"), flat, axis=1, keepdims=0)  # (batch, SIZE * SIZE)
    features = x.shape[x.feature_axis - 1]
    rows = sketch.node("Gather", sketch.weight(CHANNELS, features), place, axis=0)
    mean = sketch.node("ReduceMean", rows, sketch.integers(1), keepdims=0)  # (batch, features)
    shape = (features, 1, 1) if len(x.shape) == 3 else (*[1] * (len(x.shape) - 1), features)
    sketch.add("Add", x.name, sketch.reshape(mean, shape), shape=x.shape)
