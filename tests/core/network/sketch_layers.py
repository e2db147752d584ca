"""Steps of random graphs that hold weights or see places: what images, tokens and vectors go through."""

from typing import Any

import numpy as np

from tests.core.network.sketch import Sketch, Value, even, small, step

# images


@step("Conv", "com.microsoft.FusedConv", rank=3)
def conv(sketch: Sketch, x: Value) -> None:
    channels, height, width = x.shape
    kernel, stride = sketch.one_of(1, 3), sketch.one_of(1, 2) if min(height, width) >= 4 else 1
    groups = sketch.one_of(*(g for g in (1, 2, channels) if channels % g == 0))
    out = groups * sketch.number(1, 3)
    weights = [sketch.weight(out, channels // groups, kernel, kernel)]
    if sketch.one_of(True, False):
        weights.append(sketch.vector(out))
    paddings: list[dict[str, Any]] = [{"pads": [kernel // 2] * 4}, {"pads": [0, *[kernel - 1] * 2, 0]}]
    if stride == 1:
        paddings.append({"auto_pad": "SAME_UPPER"})  # with a stride it is native only where sizes are declared
    padding = sketch.one_of(*paddings)
    shape = (out, -(-height // stride), -(-width // stride))
    fused: dict[str, Any] = {"activation": "Relu"} if "pads" in padding and sketch.number(0, 3) == 0 else {}
    op = "com.microsoft.FusedConv" if fused else "Conv"
    sketch.add(op, x.name, *weights, shape=shape, group=groups, strides=[stride] * 2, **padding, **fused)


@step("ConvTranspose", rank=3, when=small)
def conv_transpose(sketch: Sketch, x: Value) -> None:
    channels, height, width = x.shape
    groups = sketch.one_of(*(g for g in (1, 2) if channels % g == 0))
    out = sketch.number(1, 3)
    weights = [sketch.weight(channels, out, 2, 2), sketch.vector(groups * out)]
    shape = (groups * out, 2 * height, 2 * width)
    sketch.add("ConvTranspose", x.name, *weights, shape=shape, group=groups, strides=[2, 2], kernel_shape=[2, 2])


@step("MaxPool", "AveragePool", "LpPool", rank=3, when=lambda x: min(x.shape[1:]) >= 2)
def pool(sketch: Sketch, x: Value) -> None:
    channels, height, width = x.shape
    op = sketch.one_of("MaxPool", "AveragePool", "LpPool")
    ceil = sketch.one_of(0, 1) if op == "MaxPool" else 0
    shape = (channels, (height + ceil) // 2, (width + ceil) // 2)
    rounding: dict[str, Any] = {"ceil_mode": 1} if ceil else {}
    sketch.add(op, x.name, shape=shape, kernel_shape=[2, 2], strides=[2, 2], **rounding)


@step("GlobalAveragePool", "GlobalMaxPool", "Flatten", rank=3)
def global_pool(sketch: Sketch, x: Value) -> None:
    op = sketch.one_of("GlobalAveragePool", "GlobalMaxPool")
    sketch.add("Flatten", sketch.node(op, x.name), shape=(x.shape[0],))


@step("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN", rank=3)
def image_norm(sketch: Sketch, x: Value) -> None:
    channels = x.shape[0]
    scale, bias = sketch.vector(channels, low=0.5), sketch.vector(channels)
    kind = sketch.one_of("batch", "instance", "group", "lrn")
    if kind == "batch":
        mean, variance = sketch.vector(channels), sketch.vector(channels, low=0.5)
        sketch.add("BatchNormalization", x.name, scale, bias, mean, variance, shape=x.shape)
    elif kind == "lrn":
        sketch.add("LRN", x.name, shape=x.shape, size=3, alpha=0.1)
    elif kind == "group":
        groups = sketch.one_of(*(g for g in (1, 2) if channels % g == 0))
        sketch.add("GroupNormalization", x.name, scale, bias, shape=x.shape, num_groups=groups, epsilon=0.1)
    else:
        sketch.add("InstanceNormalization", x.name, scale, bias, shape=x.shape, epsilon=0.1)


@step("Resize", rank=3, when=small)
def resize(sketch: Sketch, x: Value) -> None:
    channels, height, width = x.shape
    scales = sketch.typed(np.array([1, 1, 2, 2], np.float32))
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    linear = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    how: dict[str, Any] = sketch.one_of(nearest, linear)
    sketch.add("Resize", x.name, "", scales, shape=(channels, 2 * height, 2 * width), **how)


@step("DepthToSpace", "SpaceToDepth", rank=3)
def pixels(sketch: Sketch, x: Value) -> None:
    channels, height, width = x.shape
    if channels % 4 == 0:
        mode = sketch.one_of("DCR", "CRD")
        shape = (channels // 4, 2 * height, 2 * width)
        sketch.add("DepthToSpace", x.name, shape=shape, blocksize=2, mode=mode)
    elif height % 2 == width % 2 == 0:
        sketch.add("SpaceToDepth", x.name, shape=(4 * channels, height // 2, width // 2), blocksize=2)


@step("Reshape", "Transpose", rank=3, when=even)
def shuffle(sketch: Sketch, x: Value) -> None:
    channels, height, width = x.shape
    wide = sketch.reshape(x.name, (2, channels // 2, height, width))
    sketch.keep(sketch.reshape(sketch.node("Transpose", wide, perm=[0, 2, 1, 3, 4]), x.shape), x.shape)


@step("Reshape", "Transpose", rank=3)
def to_tokens(sketch: Sketch, x: Value) -> None:
    channels, height, width = x.shape
    flat = sketch.node("Reshape", x.name, sketch.integers(0, channels, -1))
    sketch.add("Transpose", flat, shape=(height * width, channels), perm=[0, 2, 1])


@step("Pad", rank=3, when=small)
def pad(sketch: Sketch, x: Value) -> None:
    channels, height, width = x.shape
    if sketch.one_of(True, False):
        before, after = sketch.number(0, 2), sketch.number(0, 2)
        sketch.add(
            "Pad",
            x.name,
            sketch.integers(0, before, 0, 0, 0, after, 0, 0),
            shape=(channels + before + after, height, width),
        )
    else:
        mode = "reflect" if min(height, width) >= 2 else "edge"
        pads = sketch.integers(0, 0, 1, 0, 0, 0, 0, 1)
        sketch.add("Pad", x.name, pads, shape=(channels, height + 1, width + 1), mode=mode)


# tokens and vectors


@step("MatMul", "Add", rank=2)
def linear(sketch: Sketch, x: Value) -> None:
    places, features = x.shape
    out = sketch.number(1, 8)
    product = sketch.node("MatMul", x.name, sketch.weight(features, out))
    sketch.add("Add", product, sketch.vector(out), shape=(places, out))


@step("MatMul", "Mul", "Sigmoid", rank=2)
def gated(sketch: Sketch, x: Value) -> None:
    places, features = x.shape
    hidden = sketch.number(2, 6)
    gate = sketch.node("Sigmoid", sketch.node("MatMul", x.name, sketch.weight(features, hidden)))
    product = sketch.node("Mul", gate, sketch.node("MatMul", x.name, sketch.weight(features, hidden)))
    sketch.add("MatMul", product, sketch.weight(hidden, features), shape=(places, features))


@step("MatMul", "Reshape", "Transpose", "Softmax", "Mul", "Add", rank=2)
def attention(sketch: Sketch, x: Value) -> None:
    """As exporters write it, with a residual."""
    places, features = x.shape
    heads, size = sketch.number(1, 3), sketch.one_of(2, 4)
    q, k, v = (
        sketch.reshape(sketch.node("MatMul", x.name, sketch.weight(features, heads * size)), (places, heads, size))
        for _ in range(3)
    )
    q, v = (sketch.node("Transpose", part, perm=[0, 2, 1, 3]) for part in (q, v))
    scores = sketch.node("MatMul", q, sketch.node("Transpose", k, perm=[0, 2, 3, 1]))
    scores = sketch.node("Softmax", sketch.node("Mul", scores, sketch.scalar(size**-0.5)), axis=-1)
    mixed = sketch.node("Transpose", sketch.node("MatMul", scores, v), perm=[0, 2, 1, 3])
    out = sketch.node("MatMul", sketch.reshape(mixed, (places, heads * size)), sketch.weight(heads * size, features))
    sketch.add("Add", x.name, out, shape=x.shape)


@step("com.microsoft.FusedMatMul", "com.microsoft.TransposeMatMul", rank=2, when=lambda x: x.shape[0] <= 16)
def gram(sketch: Sketch, x: Value) -> None:
    op = sketch.one_of("com.microsoft.FusedMatMul", "com.microsoft.TransposeMatMul")
    sketch.add(op, x.name, x.name, shape=(x.shape[0],) * 2, transB=1, alpha=0.1)


@step("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization", rank=2)
def token_norm(sketch: Sketch, x: Value) -> None:
    scale = sketch.vector(x.shape[1], low=0.5)
    op = sketch.one_of("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
    bias = [sketch.vector(x.shape[1])] if op == "LayerNormalization" else []
    sketch.add(op, x.name, scale, *bias, shape=x.shape, axis=-1, epsilon=0.1)


@step("com.microsoft.SkipLayerNormalization", "com.microsoft.SkipSimplifiedLayerNormalization", rank=2)
def skip_norm(sketch: Sketch, x: Value) -> None:
    other = sketch.node("MatMul", x.name, sketch.weight(x.shape[1], x.shape[1]))
    scale, bias = sketch.vector(x.shape[1], low=0.5), sketch.vector(x.shape[1])
    if sketch.one_of(True, False):
        op, tensors = "com.microsoft.SkipLayerNormalization", [scale, bias]
    else:
        op, tensors = "com.microsoft.SkipSimplifiedLayerNormalization", [scale]
    sketch.add(op, x.name, other, *tensors, shape=x.shape, epsilon=0.1)


@step("RNN", "GRU", "LSTM", "Transpose", "Reshape", rank=2, when=lambda x: x.shape[0] <= 40)
def recurrent(sketch: Sketch, x: Value) -> None:
    places, features = x.shape
    op = sketch.one_of("RNN", "GRU", "LSTM")
    gates, hidden = {"RNN": 1, "GRU": 3, "LSTM": 4}[op], sketch.number(2, 5)
    directions = sketch.one_of(1, 2)
    way = sketch.one_of("forward", "reverse") if directions == 1 else "bidirectional"
    tensors = [
        sketch.typed(np.random.default_rng(k).uniform(-0.5, 0.5, shape).astype(np.float32))
        for k, shape in enumerate([(directions, gates * hidden, features), (directions, gates * hidden, hidden)])
    ]
    bias = [sketch.vector(directions, 2 * gates * hidden)] if sketch.one_of(True, False) else []
    first = sketch.node("Transpose", x.name, perm=[1, 0, 2])
    steps = sketch.node(op, first, *tensors, *bias, hidden_size=hidden, direction=way)  # (places, directions, batch, h)
    ordered = sketch.node("Transpose", steps, perm=[2, 0, 1, 3])
    sketch.keep(sketch.reshape(ordered, (places, directions * hidden)), (places, directions * hidden))


@step("Gemm", "com.microsoft.FusedGemm", rank=1)
def gemm(sketch: Sketch, x: Value) -> None:
    out = sketch.number(1, 8)
    tensors = [sketch.weight(out, x.shape[0]), sketch.vector(out)]
    if sketch.one_of(True, False):
        sketch.add("Gemm", x.name, *tensors, shape=(out,), transB=1, alpha=1.5)
    else:
        sketch.add("com.microsoft.FusedGemm", x.name, *tensors, shape=(out,), transB=1, activation="Relu")


@step("com.microsoft.MatMulNBits", rank=1)
def packed_product(sketch: Sketch, x: Value) -> None:
    out, width, block = sketch.number(1, 8), x.shape[0], 16
    blocks = -(-width // block)
    packed = np.random.default_rng(width).integers(0, 256, (out, blocks, block // 2), np.uint8)
    tensors = [sketch.typed(packed), sketch.vector(out * blocks, low=0.02, high=0.1)]
    sizes = {"K": width, "N": out, "bits": 4, "block_size": block}
    sketch.add("com.microsoft.MatMulNBits", x.name, *tensors, shape=(out,), **sizes)
