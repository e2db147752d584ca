"""Random graphs of native operators: torch, the file as it came and the file we write agree."""

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from core.network import registry
from tests.core.network import sketch_layers, sketch_steps  # noqa: F401  they register the steps
from tests.core.network.agreement import assert_agrees
from tests.core.network.invariants import VARIES, Subject, difference
from tests.core.network.models import run_each
from tests.core.network.sketch import CHANNELS, SIZE, STEPS, Sketch

ALONE = "has tests of its own alone"

WITHOUT = {
    **dict.fromkeys(["Attention", "Einsum", "Hardmax", "OneHot", "RotaryEmbedding", "TopK", "Trilu"], ALONE),
    **dict.fromkeys(["AffineGrid", "GridSample"], ALONE),
    **dict.fromkeys(["GatherElements", "GatherND", "Scatter", "ScatterElements", "ScatterND"], ALONE),
    **dict.fromkeys(["DeformConv", "MaxUnpool", "NonMaxSuppression", "RoiAlign"], ALONE),
    **dict.fromkeys(["Compress", "NonZero", "Unique"], ALONE),
    **dict.fromkeys(["CenterCropPad", "Col2Im", "Det", "EyeLike"], ALONE),
    **dict.fromkeys(["CumProd", "ReverseSequence", "TensorScatter"], ALONE),
    **dict.fromkeys(["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"], ALONE),
    **dict.fromkeys(["CausalConvWithState", "LinearAttention"], "is of a newer opset than the graphs"),
    **dict.fromkeys(["BlackmanWindow", "DFT", "HammingWindow", "HannWindow", "MelWeightMatrix", "STFT"], ALONE),
    **dict.fromkeys([f"com.microsoft.{op}" for op in ("Attention", "GroupQueryAttention")], ALONE),
    **dict.fromkeys([f"com.microsoft.{op}" for op in ("MultiHeadAttention", "RotaryEmbedding")], ALONE),
    **dict.fromkeys(
        ["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"], "is drawn under onnxruntime's domain"
    ),
    "Upsample": "ended with opset 9, and the graphs are of a newer one",
    "GlobalLpPool": "onnxruntime has none of the graphs' opset",
}
"""Native operators that no random graph holds, and why."""

LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM"}
"""A third of the steps is one of these, so that there is something to remove."""

EXAMPLE = np.zeros((2, CHANNELS, SIZE, SIZE), np.float32)


@st.composite
def graphs(draw: st.DrawFn) -> ModelProto:
    sketch = Sketch(draw)
    for _ in range(draw(st.integers(2, 8))):
        recent = sketch.one_of(*sketch.values[-2:])
        fitting = [step for step in STEPS if step.takes(recent)]
        layers = [step for step in fitting if step.operators & LAYERS]
        sketch.one_of(*(layers if draw(st.integers(0, 2)) == 0 else fitting)).make(sketch, recent)
    model = sketch.finish()
    subject = Subject(model, {"x": EXAMPLE})
    first, second = run_each(model, [subject.inputs(0), subject.inputs(1)])
    assume(difference(second, first) > VARIES)
    return model


quickly = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    derandomize=True,
)


@quickly
@given(model=graphs(), seed=st.integers(0, 1000))
def test_import_and_export_keep_the_network(model: ModelProto, seed: int):
    assert_agrees(model, Subject(model, {"x": EXAMPLE}).inputs(seed))


def test_every_native_operator_is_in_some_random_graph():
    drawn = {op for step in STEPS for op in step.operators}
    assert set(registry.BUILDERS) - drawn == set(WITHOUT)
