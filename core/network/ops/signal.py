"""Spectra of signals, windows, and filters on the mel scale. Complex numbers are pairs on the last axis."""

import math
from typing import Any

import torch
from torch import Tensor

from core.network.emission import Emission
from core.network.importer import Builder
from core.network.limits import check_allocation
from core.network.onnx_node import OnnxNode
from core.network.ops.operands import optional_inputs, stripped
from core.network.registry import Call, emits, operator
from core.network.tensors import FLOATS, compute_type
from core.network.unsupported import Unsupported
from core.network.values import Value

COSINES = {"HannWindow": (0.5, 0.5, 0.0), "HammingWindow": (25 / 46, 21 / 46, 0.0), "BlackmanWindow": (0.42, 0.5, 0.08)}
"""What each window is made of: a constant, less a cosine, plus one of twice the frequency."""


def dft(x: Tensor, length: Tensor | None, *, axis: int, inverse: int, onesided: int) -> Tensor:
    """The discrete Fourier transform of (..., 1) real or (..., 2) complex numbers along an axis.

    Args:
        length: (), of the signal; it is cut or filled up with zeros. Its own if left out.
        onesided: whether the half that the other one mirrors is left out of the spectrum, which is made or given.
    """
    signal, axis = _complex(x), axis % x.dim()
    count = None if length is None else _length(length)
    if inverse and onesided:
        return torch.fft.irfft(signal, count or 2 * (signal.shape[axis] - 1), dim=axis).unsqueeze(-1)
    spectrum = (torch.fft.ifft if inverse else torch.fft.fft)(signal, count, dim=axis)
    return torch.view_as_real((_half(spectrum, axis) if onesided else spectrum).resolve_conj())


def stft(x: Tensor, step: Tensor, window: Tensor | None, length: Tensor | None, *, onesided: int) -> Tensor:
    """Spectra (n, frames, bins, 2) of the frames of (n, samples, 1 or 2), one every `step` samples.

    Args:
        window: (length,) that each frame is multiplied by.
        length: (), of a frame; that of the window if left out.
    """
    count = len(window) if window is not None else x.shape[1]
    frames = _complex(x).unfold(1, count if length is None else _length(length), int(step))
    spectrum = torch.fft.fft(frames if window is None else frames * window)
    return torch.view_as_real(_half(spectrum, 2) if onesided else spectrum)


def window(size: Tensor, *, kind: str, periodic: int, to: torch.dtype, stored: int) -> Tensor:
    """(size,) of sums of cosines; the end of a periodic one is left out, as it is where the next one begins."""
    count = _length(size)
    constant, first, second = COSINES[kind]
    turns = torch.arange(count, dtype=torch.float64) * (2 * math.pi / (count if periodic else count - 1))
    return (constant - first * turns.cos() + second * (2 * turns).cos()).to(to)


def mel_filters(
    filters: Tensor, length: Tensor, rate: Tensor, lowest: Tensor, highest: Tensor, *, to: torch.dtype, stored: int
) -> Tensor:
    """(length // 2 + 1, filters) triangles, at even distances on the mel scale between two frequencies in Hz."""
    count, bins = _length(filters), _length(length) // 2 + 1
    check_allocation([bins, count], 8)
    low, high = (2595 * torch.log10(1 + edge.double() / 700) for edge in (lowest, highest))
    mels = low + torch.arange(count + 2) * (high - low) / (count + 2)
    corners = ((int(length) + 1) * 700 * (10 ** (mels / 2595) - 1) / rate).floor()
    left, top, right = corners[:-2], corners[1:-1], corners[2:]
    place = torch.arange(bins, dtype=torch.float64)[:, None]
    rising = torch.where(top > left, (place - left) / (top - left).clamp(min=1), (place == top).double())
    falling = (right - place) / (right - top).clamp(min=1)
    return torch.where(place <= top, rising, falling).clamp(min=0).to(to)


def _complex(x: Tensor) -> Tensor:
    return torch.view_as_complex(x.contiguous()) if x.shape[-1] == 2 else x.squeeze(-1)


def _half(spectrum: Tensor, axis: int) -> Tensor:
    return spectrum.narrow(axis, 0, spectrum.shape[axis] // 2 + 1)


def _length(number: Tensor) -> int:
    check_allocation([int(number)])
    return int(number)


@operator("DFT")
def build_dft(builder: Builder, node: OnnxNode) -> Value:
    node.only("axis", "inverse", "onesided")
    axis = node.attribute("axis", 1) if node.opset < 20 else int(node.number(2, -2) or 0)
    length = node.input(1) if node.given(1) else None
    literals = {name: node.attribute(name, 0) for name in ("inverse", "onesided")}
    return builder.call(dft, node.input(0), length, axis=axis, **literals)


@emits(dft)
def emit_dft(out: Emission, call: Call) -> str:
    axis, inputs = call.kwargs["axis"], call.inputs
    switches: dict[str, Any] = {name: 1 for name in ("inverse", "onesided") if call.kwargs[name]}
    if out.opset < 20:
        return out.node("DFT", stripped(inputs), name=call.base, axis=axis, **switches)
    number = out.initializer(f"{call.base}/axis", torch.tensor(axis).numpy())
    return out.node("DFT", [*inputs, number], name=call.base, **switches)


@operator("STFT")
def build_stft(builder: Builder, node: OnnxNode) -> Value:
    signal, step, *rest = optional_inputs(node, 4)
    given, length, *_ = [*rest, None, None]
    return builder.call(stft, signal, step, given, length, onesided=node.attribute("onesided", 1))


@emits(stft)
def emit_stft(out: Emission, call: Call) -> str:
    return out.node("STFT", stripped(call.inputs), name=call.base, onesided=call.kwargs["onesided"])


@operator(*COSINES)
def build_window(builder: Builder, node: OnnxNode) -> Value:
    literals = {"kind": node.op, "periodic": node.attribute("periodic", 1)}
    return builder.call(window, node.input(0), **literals, **_type(node))


@operator("MelWeightMatrix")
def build_mel_filters(builder: Builder, node: OnnxNode) -> Value:
    return builder.call(mel_filters, *node.inputs(), **_type(node))


def _type(node: OnnxNode) -> dict[str, Any]:
    stored = node.attribute("output_datatype", 1)
    if stored not in FLOATS:
        raise Unsupported(f"{node.op} of whole numbers")
    return {"to": compute_type(stored), "stored": stored}


@emits(window)
def emit_window(out: Emission, call: Call) -> str:
    kind, attributes = call.kwargs["kind"], {"output_datatype": call.kwargs["stored"]}
    return out.node(kind, call.inputs, name=call.base, periodic=call.kwargs["periodic"], **attributes)


@emits(mel_filters)
def emit_mel_filters(out: Emission, call: Call) -> str:
    return out.node("MelWeightMatrix", call.inputs, name=call.base, output_datatype=call.kwargs["stored"])
