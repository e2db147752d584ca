"""How identities of channels pass Fourier transforms: what is transformed along stays, what lies beside it goes on."""

from __future__ import annotations

from typing import Any

from torch import fx

from core.network.channels.carriers import Carried
from core.network.channels.trace import Trace, rule
from core.network.ops import signal


@rule(signal.dft)
def pass_dft(trace: Trace, node: fx.Node) -> Carried:
    x = node.args[0]
    axis: Any = node.kwargs["axis"]
    rank = len(trace.shape(x))
    beside = set(range(rank)) - {axis % rank, rank - 1}
    return trace.only(x, sorted(beside), f"{trace.name(node)} mixes it along its axis")


@rule(signal.stft)
def pass_stft(trace: Trace, node: fx.Node) -> Carried:
    """Of a signal only the batch is beside."""
    return trace.only(node.args[0], [0], f"{trace.name(node)} mixes it along its axis")


@rule(signal.window, signal.mel_filters)
def pass_filters(trace: Trace, node: fx.Node) -> Carried:
    for number in node.all_input_nodes:
        trace.lock_all(number, f"{trace.name(node)} computes with it")
    return []
