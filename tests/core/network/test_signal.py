"""Fourier transforms, windows and mel filters against onnxruntime."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from core.network.channels import analyse
from core.network.ops import signal
from tests.core.network.agreement import assert_agrees, native
from tests.core.network.invariants import Subject, check_locked_shows, check_removal, locked_because
from tests.core.network.models import model_of, random

quickly = settings(max_examples=40, deadline=None, derandomize=True)
INT64 = TensorProto.INT64


def whole(number: int) -> np.ndarray:
    return np.array(number, np.int64)


@quickly
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(2, 9), st.integers(2, 6)),
    axis=st.sampled_from([0, 1, 2, -2, -3]),
    form=st.sampled_from(["real", "complex", "onesided", "inverse"]),
    length=st.sampled_from([None, 4, 7, 12]),
    opset=st.sampled_from([17, 20]),
)
def test_dft(shape: tuple[int, ...], axis: int, form: str, length: int | None, opset: int):
    x = random(*shape, 1 if form in ("real", "onesided") else 2)
    switches = {form: 1} if form in ("onesided", "inverse") else {}
    constants = {} if length is None else {"length": whole(length)}
    inputs = ["x", *constants]
    if opset == 20:
        inputs, constants = ["x", "length" if constants else "", "axis"], {**constants, "axis": whole(axis)}
    node = helper.make_node("DFT", inputs, ["y"], **({"axis": axis} if opset < 20 else {}), **switches)
    assert_agrees(model_of([node], {"x": x.shape}, constants=constants, opset=opset), {"x": x})


@pytest.mark.parametrize("length", [None, 8, 9])
def test_a_one_sided_spectrum_is_turned_back(length: int | None):
    given = {} if length is None else {"length": whole(length)}
    node = helper.make_node("DFT", ["x", *given], ["y"], inverse=1, onesided=1)
    x = np.stack([np.fft.rfft(random(2, 8), axis=1).real, np.fft.rfft(random(2, 8), axis=1).imag], -1).astype(
        np.float32
    )
    assert_agrees(model_of([node], {"x": x.shape}, constants=given, opset=20), {"x": x})


@quickly
@given(
    samples=st.integers(16, 40),
    step=st.integers(1, 9),
    length=st.sampled_from([None, 8, 11]),
    windowed=st.booleans(),
    onesided=st.sampled_from([0, 1]),
    parts=st.sampled_from([1, 2]),
)
def test_stft(samples: int, step: int, length: int | None, windowed: bool, onesided: int, parts: int):
    if length is None and not windowed:
        length = 8
    constants: dict[str, Any] = {"step": whole(step)}
    constants |= {"window": np.abs(random(length or 10))} if windowed else {}
    constants |= {} if length is None else {"length": whole(length)}
    names = ["x", *(name if name in constants else "" for name in ("step", "window", "length"))]
    node = helper.make_node("STFT", names[: 4 if length else 3], ["y"], onesided=0 if parts == 2 else onesided)
    assert_agrees(model_of([node], {"x": ["n", "s", parts]}, constants=constants), {"x": random(2, samples, parts)})


@pytest.mark.parametrize("periodic", [0, 1])
@pytest.mark.parametrize("kind", signal.COSINES)
def test_windows(kind: str, periodic: int):
    node = helper.make_node(kind, ["x"], ["y"], periodic=periodic)
    for size in (3, 9, 16):
        assert_agrees(model_of([node], {"x": []}, types={"x": INT64}), {"x": whole(size)})


@quickly
@given(
    filters=st.integers(1, 20),
    length=st.integers(8, 128),
    rate=st.sampled_from([8000, 16000, 44100]),
    lowest=st.floats(0, 500, width=32),
    part=st.floats(0.2, 0.5),
)
def test_mel_filters(filters: int, length: int, rate: int, lowest: float, part: float):
    """Rounding of a corner down to a bin may go either way; there is one more bin than it takes."""
    inputs = {"x": whole(filters), "length": whole(length), "rate": whole(rate)}
    inputs |= {"lowest": np.array(lowest, np.float32), "highest": np.array(lowest + part * rate / 2, np.float32)}
    node = helper.make_node("MelWeightMatrix", list(inputs), ["y"])
    types = dict.fromkeys(["x", "length", "rate"], INT64)
    assert_agrees(model_of([node], dict.fromkeys(inputs, ()), types=types), inputs)


def test_gradients_reach_the_signal_and_the_window():
    x = torch.randn(2, 9, 1, dtype=torch.double, requires_grad=True)
    spectrum = torch.randn(2, 5, 2, dtype=torch.double, requires_grad=True)
    shape = torch.rand(4, dtype=torch.double, requires_grad=True)
    literals: dict[str, Any] = {"axis": 1, "inverse": 0}
    assert torch.autograd.gradcheck(lambda x: signal.dft(x, torch.tensor(12), onesided=1, **literals), x)
    assert torch.autograd.gradcheck(lambda x: signal.dft(x, None, axis=1, inverse=1, onesided=1), spectrum)
    assert torch.autograd.gradcheck(lambda x, w: signal.stft(x, torch.tensor(2), w, None, onesided=1), (x, shape))


def mixed(axis: int) -> Any:
    """Tokens (n, 6, 8) through a layer, a transform along an axis as in FNet, and another layer."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Unsqueeze", ["a", "last"], ["pairs"]),
        helper.make_node("DFT", ["pairs"], ["spectrum"], axis=axis),
        helper.make_node("Gather", ["spectrum", "first"], ["real"], axis=3),
        helper.make_node("MatMul", ["real", "w2"], ["y"]),
    ]
    constants = {"w1": random(5, 8), "w2": random(8, 3), "last": np.array([-1]), "first": np.array(0)}
    return model_of(nodes, {"x": ["n", 6, 5]}, constants=constants)


@pytest.mark.parametrize("seed", range(2))
def test_channels_pass_beside_a_transform(seed: int):
    check_removal(Subject(mixed(1), {"x": random(2, 6, 5)}), seed)


def test_channels_that_are_transformed_are_locked():
    subject = Subject(mixed(2), {"x": random(2, 6, 5)})
    assert "spectrum mixes it along its axis" in locked_because(analyse(native(subject.model)))
    check_locked_shows(subject, 0)


@pytest.mark.parametrize(("inverse", "onesided"), [(0, 0), (0, 1), (1, 0)])
def test_a_real_signal_is_transformed_either_way(inverse: int, onesided: int):
    node = helper.make_node("DFT", ["x"], ["y"], axis=1, inverse=inverse, onesided=onesided)
    assert_agrees(model_of([node], {"x": [2, 5, 1]}), {"x": random(2, 5, 1)})
