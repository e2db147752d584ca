"""Each operator: torch computes what onnxruntime does, from the file's node and from the one we write."""

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from core.network import Network
from core.network.opaque import OpaqueNode
from tests.core.network.agreement import assert_agrees
from tests.core.network.models import model_of, random, run_onnx

Case = tuple[list[NodeProto], list[int], dict[str, Any], int]


def op(kind: str, *inputs: str, outputs: list[str] | None = None, **attributes: Any) -> NodeProto:
    return helper.make_node(kind, list(inputs), outputs or ["y"], **attributes)


def one(
    kind: str, shape: list[int], opset: int = 17, constants: dict[str, Any] | None = None, **attributes: Any
) -> Case:
    """An operator of the input `x` and of constants."""
    return [op(kind, "x", *(constants or {}), **attributes)], shape, constants or {}, opset


IMAGE = [2, 4, 7, 9]
I64 = np.int64


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=I64)


UNARY = [
    "Relu",
    "Sigmoid",
    "Tanh",
    "Softsign",
    "Softplus",
    "Erf",
    "Exp",
    "Abs",
    "Neg",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "Sin",
    "Cos",
    "Atan",
    "Identity",
    "HardSwish",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Celu",
    "HardSigmoid",
    "ThresholdedRelu",
    "Mish",
    "Sinh",
    "Cosh",
]

OUTPUT_SHAPES: list[dict[str, Any]] = [
    {},
    {"auto_pad": "SAME_UPPER"},
    {"output_padding": [1, 1]},
    {"dilations": [2, 1]},
]

BOUNDS = {"low": np.float32(-9), "high": np.float32(9)}

CASES: dict[str, Case] = {
    **{kind: one(kind, IMAGE, 18) for kind in UNARY},
    "LeakyRelu 0.3": one("LeakyRelu", IMAGE, alpha=0.3),
    "Elu 2": one("Elu", IMAGE, alpha=2.0),
    "HardSigmoid 0.3": one("HardSigmoid", IMAGE, alpha=0.3, beta=0.4),
    "Gelu": one("Gelu", IMAGE, 20),
    "Gelu tanh": one("Gelu", IMAGE, 20, approximate="tanh"),
    "PRelu": one("PRelu", IMAGE, constants={"s": random(4, 1, 1)}),
    "Clip 6": one("Clip", IMAGE, 6, min=-0.5, max=0.7),
    "Clip 13": one("Clip", IMAGE, 13, {"lo": np.float32(-0.5), "hi": np.float32(0.7)}),
    "Clip below": ([op("Clip", "x", "", "hi")], IMAGE, {"hi": np.float32(0.1)}, 13),
    "Dropout 7": one("Dropout", IMAGE, 7, ratio=0.3),
    "Dropout 13": one("Dropout", IMAGE, 13, {"r": np.float32(0.3)}),
    "Add": one("Add", IMAGE, constants={"c": random(4, 1, 1)}),
    "Sub": one("Sub", IMAGE, constants={"c": random(1, 4, 1, 9)}),
    "Mul": one("Mul", IMAGE, constants={"c": random(9)}),
    "Div": one("Div", IMAGE, constants={"c": random(4, 1, 1) + 3}),
    "Pow": one("Pow", [3, 4], constants={"c": np.float32(2.0)}),
    "Min": one("Min", IMAGE, constants={"c": random(4, 1, 1), "d": random(1)}),
    "Max": one("Max", IMAGE, constants={"c": random(4, 1, 1)}),
    "Sum": one("Sum", IMAGE, constants={"c": random(4, 1, 1), "d": random(9)}),
    "Mean": one("Mean", IMAGE, constants={"c": random(4, 1, 1), "d": random(9)}),
    "Where": (
        [op("Greater", "x", "c", outputs=["m"]), op("Where", "m", "x", "d")],
        IMAGE,
        {"c": np.float32(0.2), "d": random(4, 1, 1)},
        17,
    ),
    "comparisons": (
        [
            op("Less", "x", "c", outputs=["a"]),
            op("GreaterOrEqual", "x", "d", outputs=["b"]),
            op("Or", "a", "b", outputs=["m"]),
            op("Not", "m", outputs=["n"]),
            op("Cast", "n", to=TensorProto.FLOAT),
        ],
        IMAGE,
        {"c": np.float32(-0.2), "d": np.float32(0.4)},
        17,
    ),
    "Conv1d": one("Conv", [2, 4, 20], constants={"w": random(6, 4, 3), "b": random(6)}, pads=[1, 1]),
    "Conv2d": one("Conv", IMAGE, constants={"w": random(6, 4, 3, 3)}, strides=[2, 1], pads=[1, 1, 1, 1]),
    "Conv3d": one("Conv", [1, 4, 5, 6, 7], constants={"w": random(2, 4, 3, 3, 3)}, dilations=[1, 2, 1]),
    "Conv grouped": one("Conv", IMAGE, constants={"w": random(8, 2, 3, 3), "b": random(8)}, group=2),
    "Conv depthwise": one("Conv", IMAGE, constants={"w": random(4, 1, 3, 3)}, group=4, pads=[1, 1, 1, 1]),
    "Conv dilated": one("Conv", IMAGE, constants={"w": random(6, 4, 3, 3)}, dilations=[2, 3], pads=[2, 3, 2, 3]),
    "Conv asymmetric": one("Conv", IMAGE, constants={"w": random(6, 4, 3, 3)}, pads=[0, 1, 2, 1]),
    "Conv same upper": one("Conv", IMAGE, constants={"w": random(6, 4, 3, 2)}, auto_pad="SAME_UPPER", strides=[2, 2]),
    "Conv same lower": one("Conv", IMAGE, constants={"w": random(6, 4, 4, 2)}, auto_pad="SAME_LOWER"),
    "Conv valid": one("Conv", IMAGE, constants={"w": random(6, 4, 3, 3)}, auto_pad="VALID"),
    "ConvTranspose": one(
        "ConvTranspose", IMAGE, constants={"w": random(4, 3, 3, 3), "b": random(3)}, strides=[2, 2], pads=[1, 1, 1, 1]
    ),
    "ConvTranspose grouped": one(
        "ConvTranspose", IMAGE, constants={"w": random(4, 3, 3, 3)}, group=2, strides=[2, 2], output_padding=[1, 1]
    ),
    "ConvTranspose asymmetric": one("ConvTranspose", IMAGE, constants={"w": random(4, 3, 3, 3)}, pads=[0, 1, 2, 0]),
    **{
        f"ConvTranspose {auto} {kernel} {stride}": one(
            "ConvTranspose",
            IMAGE,
            constants={"w": random(4, 3, *kernel)},
            auto_pad=auto,
            strides=stride,
        )
        for auto in ("SAME_UPPER", "SAME_LOWER", "VALID")
        for kernel, stride in (([3, 3], [2, 2]), ([4, 3], [1, 2]))
    },
    **{
        f"ConvTranspose to a shape {attributes}": one(
            "ConvTranspose",
            IMAGE,
            constants={"w": random(4, 3, 3, 4), "b": random(3)},
            strides=[2, 2],
            output_shape=[14, 17],
            **attributes,
        )
        for attributes in OUTPUT_SHAPES
    },
    "Gemm": one("Gemm", [3, 5], constants={"w": random(5, 4), "b": random(4)}),
    "Gemm transB": one("Gemm", [3, 5], constants={"w": random(4, 5)}, transB=1),
    "Gemm transA": one("Gemm", [5, 3], constants={"w": random(5, 4), "b": random(1, 4)}, transA=1),
    "Gemm scaled": one("Gemm", [3, 5], constants={"w": random(4, 5), "b": random(4)}, transB=1, alpha=0.5, beta=2.0),
    "Gemm matrix": one("Gemm", [3, 5], constants={"w": random(5, 4), "b": random(3, 4)}, alpha=0.5, beta=2.0),
    "Gemm scalar": one("Gemm", [3, 5], constants={"w": random(5, 4), "b": np.float32(2.0)}),
    "MatMul": one("MatMul", [2, 3, 5], constants={"w": random(5, 4)}),
    "MatMul left": ([op("MatMul", "w", "x")], [5, 3], {"w": random(4, 5)}, 17),
    "MatMul stacked": one("MatMul", [2, 3, 5], constants={"w": random(2, 5, 4)}),
    "BatchNormalization": one(
        "BatchNormalization",
        IMAGE,
        constants={"s": random(4), "b": random(4), "m": random(4), "v": random(4) ** 2 + 0.5},
        epsilon=1e-3,
    ),
    "BatchNormalization 1d": one(
        "BatchNormalization",
        [3, 4],
        constants={"s": random(4), "b": random(4), "m": random(4), "v": random(4) ** 2 + 0.5},
    ),
    "LayerNormalization": one("LayerNormalization", [2, 3, 8], constants={"s": random(8), "b": random(8)}),
    "InstanceNormalization": one("InstanceNormalization", IMAGE, constants={"s": random(4), "b": random(4)}),
    "LRN": one("LRN", IMAGE, size=3, alpha=0.1, beta=0.75, bias=1.5),
    "LRN wider than the channels": one("LRN", IMAGE, size=25, alpha=0.1),
    "LpNormalization": one("LpNormalization", IMAGE, axis=1, p=2),
    "MaxPool": one("MaxPool", IMAGE, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "MaxPool ceil": one("MaxPool", IMAGE, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "MaxPool asymmetric": one("MaxPool", IMAGE, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
    "MaxPool dilated": one("MaxPool", IMAGE, kernel_shape=[2, 3], dilations=[2, 2]),
    "MaxPool same": one("MaxPool", IMAGE, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    "MaxPool 1d": one("MaxPool", [2, 3, 11], kernel_shape=[3], strides=[2]),
    "AveragePool": one("AveragePool", IMAGE, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "AveragePool counting": one("AveragePool", IMAGE, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "AveragePool asymmetric": one("AveragePool", IMAGE, kernel_shape=[3, 3], pads=[0, 1, 1, 0], strides=[2, 2]),
    "AveragePool asymmetric counting": one(
        "AveragePool", IMAGE, kernel_shape=[3, 3], pads=[0, 1, 1, 0], strides=[2, 2], count_include_pad=1
    ),
    "AveragePool ceil": one("AveragePool", IMAGE, 19, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "AveragePool dilated": one("AveragePool", IMAGE, 19, kernel_shape=[2, 2], dilations=[2, 2]),
    "LpPool": one("LpPool", IMAGE, kernel_shape=[3, 3], strides=[2, 2], p=2),
    "GlobalAveragePool": one("GlobalAveragePool", IMAGE),
    "GlobalMaxPool": one("GlobalMaxPool", IMAGE),
    "GlobalLpPool": one("GlobalLpPool", IMAGE, p=3),
    "Concat": ([op("Concat", "x", "c", "x", axis=-1)], [2, 3], {"c": random(2, 2)}, 17),
    "Reshape": one("Reshape", IMAGE, constants={"s": ints(0, -1, 3)}),
    "Reshape 1": one("Reshape", IMAGE, constants={"s": ints(2, 63, 4)}),
    "Flatten": one("Flatten", IMAGE, axis=2),
    "Flatten -1": one("Flatten", IMAGE, axis=-1),
    "Flatten 0": one("Flatten", IMAGE, axis=0),
    "Transpose": one("Transpose", IMAGE, perm=[2, 0, 3, 1]),
    "Transpose reversed": one("Transpose", IMAGE),
    "Squeeze 11": one("Squeeze", [2, 1, 3, 1], 11, axes=[1]),
    "Squeeze 13": one("Squeeze", [2, 1, 3, 1], 13, {"a": ints(-1)}),
    "Squeeze all": one("Squeeze", [2, 1, 3, 1], 13),
    "Unsqueeze 11": one("Unsqueeze", [2, 3], 11, axes=[0, 3]),
    "Unsqueeze 13": one("Unsqueeze", [2, 3], 13, {"a": ints(-1, 1)}),
    "Expand": one("Expand", [2, 1, 3], constants={"s": ints(4, 1, 5, 1)}),
    "Tile": one("Tile", [2, 3], constants={"r": ints(2, 3)}),
    "Pad 2": one("Pad", [1, 2, 4, 4], 9, pads=[0, 0, 1, 2, 0, 0, 0, 1], value=0.5),
    "Pad constant": one("Pad", [1, 2, 4, 4], 13, {"p": ints(0, 1, 1, 2, 0, 0, 0, 1), "v": np.float32(0.5)}),
    "Pad negative": one("Pad", [1, 2, 4, 4], 13, {"p": ints(0, 0, -1, 2, 0, 0, 0, -1)}),
    "Pad reflect": one("Pad", [1, 2, 4, 5], 13, {"p": ints(0, 1, 3, 2, 0, 0, 2, 4)}, mode="reflect"),
    "Pad edge": one("Pad", [1, 2, 4, 5], 13, {"p": ints(0, 1, 5, 2, 0, 0, 2, 4)}, mode="edge"),
    "Pad wrap": one("Pad", [1, 2, 4, 5], 19, {"p": ints(0, 1, 3, 2, 0, 0, 2, 4)}, mode="wrap"),
    **{
        f"Pad {mode} {pads}": one(
            "Pad", [1, 2, 4, 6], 19, {"p": ints(0, 0, 0, *pads[:1], 0, 0, 0, *pads[1:])}, mode=mode
        )
        for mode in ("edge", "reflect", "wrap")
        for pads in ((-1, 2), (3, -2), (-2, -1))
    },
    "Pad axes": ([op("Pad", "x", "p", "", "a")], [1, 2, 4, 5], {"p": ints(1, 2), "a": ints(-1)}, 18),
    "Slice 9": one("Slice", IMAGE, 9, starts=[1, -3], ends=[3, 100], axes=[1, 3]),
    "Slice 13": one("Slice", IMAGE, 13, {"s": ints(1, -1), "e": ints(6, -100), "a": ints(2, -1), "t": ints(2, -2)}),
    "Slice plain": one("Slice", IMAGE, 13, {"s": ints(1, 0), "e": ints(2, 3)}),
    "Split 11": ([op("Split", "x", outputs=["a", "b"], axis=1, split=[1, 3]), op("Relu", "b")], IMAGE, {}, 11),
    "Split 13": (
        [op("Split", "x", "s", outputs=["a", "b"], axis=1), op("Concat", "b", "a", axis=1)],
        IMAGE,
        {"s": ints(1, 3)},
        13,
    ),
    "Split even": (
        [op("Split", "x", outputs=["a", "b"], axis=-1, num_outputs=2), op("Concat", "b", "a", axis=-1)],
        IMAGE,
        {},
        18,
    ),
    "Gather": one("Gather", IMAGE, constants={"i": ints(2, 0)}, axis=1),
    "Gather negative": one("Gather", IMAGE, constants={"i": np.array([[-1, 0], [1, 1]], I64)}, axis=1),
    "Gather scalar": one("Gather", IMAGE, constants={"i": np.array(1, I64)}, axis=2),
    "Cast": (
        [op("Cast", "x", outputs=["i"], to=TensorProto.INT32), op("Cast", "i", to=TensorProto.FLOAT)],
        [3, 4],
        {},
        17,
    ),
    "DepthToSpace": one("DepthToSpace", [1, 8, 2, 3], blocksize=2),
    "DepthToSpace CRD": one("DepthToSpace", [1, 8, 2, 3], blocksize=2, mode="CRD"),
    "SpaceToDepth": one("SpaceToDepth", [1, 2, 4, 6], blocksize=2),
    "SpaceToDepth CRD": one("SpaceToDepth", [1, 2, 4, 6], 28, blocksize=2, mode="CRD"),
    "ReduceMean 13": one("ReduceMean", IMAGE, 13, axes=[2, 3]),
    "ReduceMean 18": one("ReduceMean", IMAGE, 18, {"a": ints(-1)}, keepdims=0),
    "ReduceSum 11": one("ReduceSum", IMAGE, 11, axes=[1], keepdims=0),
    "ReduceSum 13": one("ReduceSum", IMAGE, 13, {"a": ints(1, 2)}),
    "ReduceMax": one("ReduceMax", IMAGE, 13, axes=[1]),
    "ReduceMin": one("ReduceMin", IMAGE, 13),
    "ReduceProd": one("ReduceProd", [2, 3, 2], 13, axes=[0, 2], keepdims=0),
    "ReduceL1": one("ReduceL1", IMAGE, 13, axes=[1]),
    "ReduceL2": one("ReduceL2", IMAGE, 13, axes=[1]),
    "ReduceSumSquare": one("ReduceSumSquare", IMAGE, 13, axes=[1]),
    "ReduceLogSumExp": one("ReduceLogSumExp", IMAGE, 13, axes=[1]),
    "ArgMax": (
        [op("ArgMax", "x", outputs=["i"], axis=1, keepdims=0), op("Cast", "i", to=TensorProto.FLOAT)],
        IMAGE,
        {},
        13,
    ),
    **{
        f"ReduceSum of nothing {opset} {axes}": (
            [op("ReduceSum", "x", axes, noop_with_empty_axes=1, keepdims=0)],
            [3, 4],
            {"none": ints()},
            opset,
        )
        for opset in (13, 18)
        for axes in ("none", "")
    },
    **{
        f"{kind} of nothing": ([op(kind, "x", noop_with_empty_axes=1)], [3, 4], {}, 18)
        for kind in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")
    },
    **{
        f"{kind} last {axis} {keepdims}": (
            [
                op("Round", "x", outputs=["r"]),
                op(kind, "r", outputs=["i"], axis=axis, keepdims=keepdims, select_last_index=1),
                op("Cast", "i", to=TensorProto.FLOAT),
            ],
            IMAGE,
            {},
            13,
        )
        for kind in ("ArgMax", "ArgMin")
        for axis, keepdims in ((-1, 0), (2, 1))
    },
    **{f"Hardmax {axis}": one("Hardmax", IMAGE, 13, axis=axis) for axis in (-1, 1)},
    "Hardmax 11": one("Hardmax", [2, 5], 11),
    "Softmax 11": one("Softmax", [2, 3, 4], 11, axis=1),
    "Softmax 11 default": one("Softmax", [2, 5], 11),
    "Softmax 13": one("Softmax", [2, 3, 4], 13, axis=1),
    "LogSoftmax": one("LogSoftmax", [2, 3, 4], 13),
    **{
        f"{kind} of integers": (
            [
                op("Cast", "x", outputs=["i"], to=TensorProto.INT64),
                op(kind, "i", outputs=["r"], axes=[1]),
                op("Div", "r", "two", outputs=["h"]),
                op("Cast", "h", to=TensorProto.FLOAT),
            ],
            [4, 5],
            {"two": ints(2)},
            11,
        )
        for kind in ("ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare")
    },
    **{
        f"{kind} {exclusive} {reverse} of infinity": (
            [
                op("Add", "x", "far", outputs=["a"]),
                op(kind, "a", "axis", outputs=["c"], exclusive=exclusive, reverse=reverse),
                op("Clip", "c", "low", "high"),
            ],
            [2, 5],
            {"far": np.array([0, 0, np.inf, 0, 0], np.float32), "axis": np.array(1), **BOUNDS},
            opset,
        )
        for kind, opset in (("CumSum", 14), ("CumProd", 26))
        for exclusive in (0, 1)
        for reverse in (0, 1)
    },
    "CumSum": one("CumSum", [2, 5], 14, {"a": np.array(1, I64)}),
    "Resize nearest": (
        [op("Resize", "x", "", "s", mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
        [1, 2, 4, 5],
        {"s": np.array([1, 1, 2, 2], np.float32)},
        13,
    ),
    "Resize linear": (
        [op("Resize", "x", "", "s", mode="linear")],
        [1, 2, 4, 5],
        {"s": np.array([1, 1, 2, 1.5], np.float32)},
        13,
    ),
    "Resize corners": (
        [op("Resize", "x", "", "", "s", mode="linear", coordinate_transformation_mode="align_corners")],
        [1, 2, 4, 5],
        {"s": ints(1, 2, 9, 7)},
        13,
    ),
    "Resize pytorch": (
        [op("Resize", "x", "", "", "s", mode="linear", coordinate_transformation_mode="pytorch_half_pixel")],
        [1, 2, 4, 5],
        {"s": ints(1, 2, 3, 2)},
        13,
    ),
    "Upsample": one("Upsample", [1, 2, 4, 5], 9, {"s": np.array([1, 1, 2, 3], np.float32)}, mode="nearest"),
    "QDQ": (
        [
            op("QuantizeLinear", "x", "s", "z", outputs=["q"]),
            op("MaxPool", "q", outputs=["p"], kernel_shape=[2, 2]),
            op("DequantizeLinear", "p", "s", "z"),
        ],
        IMAGE,
        {"s": np.float32(0.02), "z": np.uint8(128)},
        13,
    ),
    "QDQ by channel": (
        [
            op("QuantizeLinear", "x", "s", "z", outputs=["q"], axis=1),
            op("DequantizeLinear", "q", "s", "z", axis=1),
        ],
        IMAGE,
        {"s": np.array([0.01, 0.02, 0.1, 0.001], np.float32), "z": np.array([0, 3, -4, 9], np.int8)},
        13,
    ),
    "integer weights": (
        [
            op("DequantizeLinear", "w", "s", outputs=["f"], axis=0),
            op("Conv", "x", "f"),
        ],
        IMAGE,
        {"w": (random(6, 4, 3, 3) * 50).astype(np.int8), "s": np.abs(random(6)) * 0.01},
        13,
    ),
    "shape arithmetic": (
        [
            op("Shape", "x", outputs=["s"]),
            op("Gather", "s", "zero", outputs=["n"]),
            op("Gather", "s", "one", outputs=["c"]),
            op("Mul", "c", "two", outputs=["m"]),
            op("Unsqueeze", "n", "first", outputs=["n1"]),
            op("Unsqueeze", "m", "first", outputs=["m1"]),
            op("Concat", "n1", "m1", "rest", outputs=["t"], axis=0),
            op("Reshape", "x", "t"),
        ],
        [2, 4, 6],
        {
            "zero": np.array(0, I64),
            "one": np.array(1, I64),
            "two": np.array(2, I64),
            "first": ints(0),
            "rest": ints(-1),
        },
        13,
    ),
    "ConstantOfShape": (
        [
            op("Shape", "x", outputs=["s"]),
            op("ConstantOfShape", "s", outputs=["c"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [2.5])),
            op("Add", "x", "c"),
        ],
        [2, 3],
        {},
        13,
    ),
    "Range": (
        [
            op("Size", "x", outputs=["n"]),
            op("Range", "zero", "n", "one", outputs=["r"]),
            op("Cast", "r", outputs=["f"], to=TensorProto.FLOAT),
            op("Reshape", "f", "s", outputs=["g"]),
            op("Add", "x", "g"),
        ],
        [2, 3],
        {"zero": np.array(0, I64), "one": np.array(1, I64), "s": ints(2, 3)},
        13,
    ),
    "Slice at a size": (
        [
            op("Shape", "x", outputs=["s"]),
            op("Slice", "s", "one", "two", outputs=["c"]),
            op("Sub", "c", "one", outputs=["e"]),
            op("Slice", "x", "zero", "e", "one"),
        ],
        [2, 4, 3],
        {"zero": ints(0), "one": ints(1), "two": ints(2)},
        13,
    ),
}


@pytest.mark.parametrize("kind", ["CumSum", "CumProd", "Hardmax", "ReduceMean"])
def test_nothing_comes_of_nothing(kind: str):
    constants = {"axis": np.array(1)} if kind.startswith("Cum") else {}
    known: dict[str, dict[str, Any]] = {"ReduceMean": {"axes": [1]}, "Hardmax": {}}
    attributes = known.get(kind, {"exclusive": 1})
    nodes = [op(kind, "x", *constants, **attributes)]
    model = model_of(nodes, {"x": [2, "n"]}, constants=constants, opset=26 if kind == "CumProd" else 17, ir_version=10)
    inputs = {"x": np.zeros((2, 0), np.float32)}
    np.testing.assert_array_equal(torch_outputs(Network.from_proto(model), inputs), run_onnx(model, inputs)[0])


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.int64, np.float32, np.float64])
def test_a_range_that_leads_away_from_its_limit_is_empty(kind: type[np.number]):
    bounds = {"start": kind(0), "limit": kind(5), "step": kind(-1)}
    types = dict.fromkeys([*bounds, "y"], int(helper.np_dtype_to_tensor_dtype(np.dtype(kind))))
    shapes: dict[str, list[int]] = {name: [] for name in bounds}
    model = model_of([op("Range", *bounds)], shapes, types=types)
    inputs = {name: np.asarray(value) for name, value in bounds.items()}
    assert torch_outputs(Network.from_proto(model), inputs).shape == (0,)


@pytest.mark.parametrize("kind", [np.uint16, np.uint64, np.int16, np.bool_])
def test_a_constant_of_a_computed_shape_keeps_its_type(kind: type[np.generic]):
    filler = numpy_helper.from_array(np.ones(1, kind))
    types = {"x": TensorProto.INT64, "y": filler.data_type}
    model = model_of([op("ConstantOfShape", "x", value=filler)], {"x": [2]}, types=types)
    network = Network.from_proto(model)
    for node in network.graph.graph.nodes:
        node.meta["source"] = ()
    inputs = {"x": ints(2, 3)}
    np.testing.assert_array_equal(run_onnx(network.to_proto(), inputs)[0], run_onnx(model, inputs)[0])


def test_a_sparse_constant_is_a_dense_one():
    values = numpy_helper.from_array(np.array([1.5, -2], np.float32), "v")
    for indices in (ints(1, 5), np.array([[0, 1], [1, 2]])):
        sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(indices, "i"), [2, 3])
        nodes = [op("Constant", outputs=["c"], sparse_value=sparse), op("Add", "x", "c")]
        inputs = {"x": random(2, 3)}
        model = model_of(nodes, {"x": [2, 3]})
        assert_close(torch_outputs(Network.from_proto(model), inputs), run_onnx(model, inputs)[0])


def test_a_scalar_may_be_transposed():
    assert_agrees(model_of([op("Transpose", "x")], {"x": []}), {"x": random()})


@pytest.mark.parametrize("kind", ["ReduceL2", "GlobalLpPool", "LpPool", "LpNormalization"])
def test_zeros_have_a_finite_gradient(kind: str):
    known: dict[str, dict[str, Any]] = {"LpPool": {"kernel_shape": [2, 2]}, "ReduceL2": {"axes": [1]}}
    attributes = known.get(kind, {})
    model = model_of([op(kind, "x", **attributes)], {"x": [1, 2, 4, 4]})
    x = torch.zeros(1, 2, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(Network.from_proto(model)({"x": x})["y"].sum(), [x])
    assert gradient.abs().max() <= 1


def test_the_sign_of_no_number_is_none():
    x = np.array([np.nan, -2.0, 0.0], np.float32)
    model = model_of([op("Sign", "x")], {"x": [3]})
    np.testing.assert_array_equal(torch_outputs(Network.from_proto(model), {"x": x}), run_onnx(model, {"x": x})[0])


def build(case: Case, free: bool = False) -> tuple[ModelProto, dict[str, np.ndarray]]:
    nodes, shape, constants, opset = case
    declared: list[int | str] = [f"d{axis}" for axis in range(len(shape))] if free else list(shape)
    model = model_of(nodes, {"x": declared}, constants=constants, opset=opset)
    onnx.checker.check_model(model)
    return model, {"x": random(*shape, seed=7)}


def torch_outputs(network: Network, inputs: dict[str, np.ndarray]) -> np.ndarray:
    with torch.no_grad():
        return network({name: torch.from_numpy(value) for name, value in inputs.items()})["y"].numpy()


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    scale = max(float(np.abs(expected).max()), 1e-3)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("name", CASES)
def test_torch_computes_the_same(name: str):
    model, inputs = build(CASES[name])
    network = Network.from_proto(model)
    (expected,) = run_onnx(model, inputs, optimised=False)
    assert_close(torch_outputs(network, inputs), expected)
    opaque = [module for module in network.graph.modules() if isinstance(module, OpaqueNode)]
    assert not opaque


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_computes_the_same(name: str):
    model, inputs = build(CASES[name])
    network = Network.from_proto(model)
    for node in network.graph.graph.nodes:
        node.meta["source"] = ()  # as if every node were new
    written = network.to_proto()
    onnx.checker.check_model(written)
    assert_close(run_onnx(written, inputs, optimised=False)[0], run_onnx(model, inputs, optimised=False)[0])


@pytest.mark.parametrize(
    "name", ["shape arithmetic", "ConstantOfShape", "Range", "Slice at a size", "Reshape", "Flatten"]
)
def test_sizes_may_be_free(name: str):
    model, inputs = build(CASES[name], free=True)
    network = Network.from_proto(model)
    assert_close(torch_outputs(network, inputs), run_onnx(model, inputs, optimised=False)[0])


def test_an_unknown_use_of_a_known_operator_is_opaque():
    model, inputs = build(one("Hardmax", [2, 3, 4], 11))
    network = Network.from_proto(model)
    assert_close(torch_outputs(network, inputs), run_onnx(model, inputs, optimised=False)[0])
    assert "several axes" in network.notes[0]


@pytest.mark.parametrize(
    ("kind", "shape", "expected"),
    [
        ("Flatten", [], (0, 24)),
        ("Reshape", [0, -1], (0, 24)),
        ("Reshape", [0, -1, 3], (0, 8, 3)),
        ("Reshape", [-1, 6], (0, 6)),
    ],
)
def test_nothing_found_has_the_width_of_something(kind: str, shape: list[int], expected: tuple[int, ...]):
    """Detectors lay out what they find, and may find nothing."""
    constants = {"s": ints(*shape)} if shape else {}
    nodes = [op("Compress", "x", "none", outputs=["c"], axis=0), op(kind, "c", *constants)]
    model = model_of(nodes, {"x": [3, 4, 6], "none": ["n"]}, constants=constants, types={"none": TensorProto.BOOL})
    inputs = {"x": random(3, 4, 6), "none": np.zeros(3, bool)}
    assert torch_outputs(Network.from_proto(model), inputs).shape == expected
