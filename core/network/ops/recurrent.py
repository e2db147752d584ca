"""Recurrent layers as ONNX has them, with torch's names and layout of the parameters.

Torch's fused kernels compute what they know; everything else (other activations, clipping, peepholes, coupled gates,
a reset before the product, lengths) is a loop over time that reads like the standard's formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.network.ops.recurrent_activations import Activation

State = tuple[Tensor, ...]
"""The hidden state, and the cell's after it where there is one."""

SUFFIXES = {"forward": ("",), "reverse": ("",), "bidirectional": ("", "_reverse")}
"""What the names of the parameters of each direction end in."""


@dataclass(frozen=True)
class Options:
    """What a recurrent layer computes, besides its tensors.

    Attributes:
        direction: forward, reverse or bidirectional.
        activations: for each direction the functions f, g and h of the standard, as many as the kind has.
        clip: bound on what goes into the gates' activations; None for none.
        layout: 0 where time is the first axis, 1 where the batch is.
        input_forget: whether an LSTM's forget gate is 1 - its input gate.
        linear_before_reset: whether a GRU resets after the product with the hidden state, as torch does.
    """

    direction: str
    activations: tuple[tuple[Activation, ...], ...]
    clip: float | None = None
    layout: int = 0
    input_forget: bool = False
    linear_before_reset: bool = False


class Recurrent(nn.Module):
    """One recurrent layer of one or two directions.

    Parameters, those of the second direction with `_reverse` behind their names:
        weight_ih_l0: (gates * hidden, inputs), gates in torch's order.
        weight_hh_l0: (gates * hidden, hidden).
        bias_ih_l0, bias_hh_l0: (gates * hidden,); None without biases.
        peepholes: (3 * hidden,) of an LSTM's input, output and forget gate; None without.

    All sizes are read from the tensors, so that removing channels only replaces these.
    """

    operator: ClassVar[str]
    order: ClassVar[tuple[int, ...]]
    """For each gate of torch its place in ONNX."""
    standard: ClassVar[tuple[str, ...]]
    """The activations of torch's fused kernel."""
    states: ClassVar[int] = 1

    def __init__(self, inputs: int, hidden: int, options: Options, bias: bool = True, peepholes: bool = False) -> None:
        super().__init__()
        self.options = options
        rows = len(self.order) * hidden
        for suffix in self.suffixes:
            self.register_parameter(f"weight_ih_l0{suffix}", nn.Parameter(torch.empty(rows, inputs)))
            self.register_parameter(f"weight_hh_l0{suffix}", nn.Parameter(torch.empty(rows, hidden)))
            for name in ("bias_ih_l0", "bias_hh_l0"):
                self.register_parameter(f"{name}{suffix}", nn.Parameter(torch.empty(rows)) if bias else None)
            held = nn.Parameter(torch.empty(3 * hidden)) if peepholes else None
            self.register_parameter(f"peepholes{suffix}", held)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """One a direction."""
        return SUFFIXES[self.options.direction]

    @property
    def matrices(self) -> dict[str, str]:
        """Names of the weight matrices by what they work on."""
        parts = {"input": "weight_ih_l0", "hidden": "weight_hh_l0"}
        return {f"{part}{suffix}": f"{name}{suffix}" for suffix in self.suffixes for part, name in parts.items()}

    @property
    def hidden_size(self) -> int:
        return self.tensor("weight_hh_l0").shape[1]

    @property
    def input_size(self) -> int:
        return self.tensor("weight_ih_l0").shape[1]

    def tensor(self, name: str) -> Tensor:
        found = getattr(self, name)
        assert isinstance(found, Tensor)
        return found

    def find(self, name: str) -> Tensor | None:
        return getattr(self, name, None)

    def forward(self, x: Tensor, lengths: Tensor | None = None, *initial: Tensor | None) -> State:
        """
        Args:
            x: (time, batch, inputs); with layout 1 (batch, time, inputs), and the batch first everywhere below.
            lengths: (batch,) steps of each sequence; None where all take the whole time. Outputs beyond are zero,
                and the last state is that of the last step within, or zero.
            initial: each state at the start, (directions, batch, hidden); None for zeros. One of a single sample
                serves all.

        Returns:
            All outputs (time, directions, batch, hidden), and each state at the end (directions, batch, hidden).
        """
        if self.options.layout:
            x = x.transpose(0, 1)
        states = tuple(self._initial(state, x) for state in self._all(initial))
        kernel = self._kernel() if lengths is None and x.numel() else None
        y, *last = self._stepwise(x, lengths, states) if kernel is None else self._fused(kernel, x, states)
        if self.options.layout:
            return y.permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in last)
        return y, *last

    def _all(self, initial: Sequence[Tensor | None]) -> list[Tensor | None]:
        return [*initial, None, None][: self.states]

    def _initial(self, state: Tensor | None, x: Tensor) -> Tensor:
        shape = (len(self.suffixes), x.shape[1], self.hidden_size)
        if state is None:
            return x.new_zeros(shape)
        state = state.to(x.device)  # zeros come from the shape plane
        return (state.transpose(0, 1) if self.options.layout else state).expand(shape)

    # torch's kernels

    def _kernel(self) -> Callable[..., Any] | None:
        """The fused kernel that computes exactly this layer; None where there is none."""
        is_standard = all(
            tuple(function.name for function in functions) == self.standard for functions in self.options.activations
        )
        return self._fused_kernel() if is_standard and self.options.clip is None else None

    def _fused_kernel(self) -> Callable[..., Any] | None:
        raise NotImplementedError

    def _fused(self, kernel: Callable[..., Any], x: Tensor, states: State) -> State:
        directions, is_reverse = len(self.suffixes), self.options.direction == "reverse"
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        found = [self.find(f"{name}{suffix}") for suffix in self.suffixes for name in names]
        tensors = [tensor for tensor in found if tensor is not None]
        start = states[0] if len(states) == 1 else tuple(state.contiguous() for state in states)
        y, *last = kernel(
            x.flip(0) if is_reverse else x,
            start.contiguous() if isinstance(start, Tensor) else start,
            tensors,
            len(tensors) == len(found),
            1,  # layer
            0.0,  # dropout
            torch.is_grad_enabled(),
            directions == 2,
            False,  # time comes first
        )
        y = y.unflatten(2, (directions, -1)).transpose(1, 2)
        return (y.flip(0) if is_reverse else y), *last

    # the loop

    def _stepwise(self, x: Tensor, lengths: Tensor | None, states: State) -> State:
        lengths = None if lengths is None else lengths.to(x.device)
        outputs, ends = [], []
        for place, suffix in enumerate(self.suffixes):
            is_reverse = self.options.direction == "reverse" or place == 1
            start = tuple(state[place] for state in states)
            walked = turned(x, lengths) if is_reverse else x
            y, end = self._walk(walked, lengths, start, suffix, self.options.activations[place])
            outputs.append(turned(y, lengths) if is_reverse else y)
            ends.append(end)
        return torch.stack(outputs, 1), *(torch.stack(parts) for parts in zip(*ends, strict=True))

    def _walk(
        self, x: Tensor, lengths: Tensor | None, state: State, suffix: str, functions: tuple[Activation, ...]
    ) -> tuple[Tensor, State]:
        """Outputs (time, batch, hidden) and the last state of one direction, first step first."""
        if lengths is not None:  # as in onnxruntime, nothing is left of the state of an empty sequence
            state = tuple(torch.where((lengths > 0)[:, None], one, 0.0) for one in state)
        sums = F.linear(x, self.tensor(f"weight_ih_l0{suffix}"), self.find(f"bias_ih_l0{suffix}"))
        outputs = []
        for place, inputs in enumerate(sums):
            new = self.step(inputs, state, suffix, functions)
            if lengths is None:
                state = new
                outputs.append(new[0])
                continue
            is_within = (place < lengths)[:, None]
            state = tuple(torch.where(is_within, after, before) for after, before in zip(new, state, strict=True))
            outputs.append(torch.where(is_within, new[0], 0.0))
        return torch.stack(outputs) if outputs else x.new_zeros(0, *state[0].shape), state

    def step(self, inputs: Tensor, state: State, suffix: str, functions: tuple[Activation, ...]) -> State:
        """The state after one step.

        Args:
            inputs: (batch, gates * hidden), the input's part of the gates' sums, its bias included.
            state: (batch, hidden) each.
        """
        raise NotImplementedError

    def recurrence(self, hidden: Tensor, suffix: str) -> Tensor:
        """(batch, gates * hidden), the hidden state's part of the gates' sums, its bias included."""
        return F.linear(hidden, self.tensor(f"weight_hh_l0{suffix}"), self.find(f"bias_hh_l0{suffix}"))

    def clipped(self, sums: Tensor) -> Tensor:
        clip = self.options.clip
        return sums if clip is None else sums.clamp(-clip, clip)


def turned(x: Tensor, lengths: Tensor | None) -> Tensor:
    """(time, batch, ...) with each sequence back to front; what is beyond its length stays where it is."""
    if lengths is None:
        return x.flip(0)
    places = torch.arange(x.shape[0], device=x.device)[:, None]
    places = torch.where(places < lengths, lengths - 1 - places, places).long()
    return x.gather(0, places[:, :, None].expand(x.shape))


class Rnn(Recurrent):
    """H = f(X W + H R + b)."""

    operator = "RNN"
    order = (0,)
    standard = ("Tanh",)

    def _kernel(self) -> Callable[..., Any] | None:
        names = {function.name for functions in self.options.activations for function in functions}
        if self.options.clip is not None or len(names) > 1:
            return None
        return {"Tanh": torch.rnn_tanh, "Relu": torch.rnn_relu}.get(names.pop())

    def step(self, inputs: Tensor, state: State, suffix: str, functions: tuple[Activation, ...]) -> State:
        return (functions[0](self.clipped(inputs + self.recurrence(state[0], suffix))),)


class Gru(Recurrent):
    """Gates in the order reset, update, new; in ONNX update, reset, new."""

    operator = "GRU"
    order = (1, 0, 2)
    standard = ("Sigmoid", "Tanh")

    def _fused_kernel(self) -> Callable[..., Any] | None:
        return torch.gru if self.options.linear_before_reset else None

    def step(self, inputs: Tensor, state: State, suffix: str, functions: tuple[Activation, ...]) -> State:
        (hidden,), (f, g) = state, functions
        for_reset, for_update, for_new = inputs.chunk(3, 1)
        if self.options.linear_before_reset:
            from_reset, from_update, from_new = self.recurrence(hidden, suffix).chunk(3, 1)
            reset = f(self.clipped(for_reset + from_reset))
            from_new = reset * from_new
        else:
            weight, bias = self.tensor(f"weight_hh_l0{suffix}"), self.find(f"bias_hh_l0{suffix}")
            size = hidden.shape[1]
            from_reset, from_update = F.linear(
                hidden, weight[: 2 * size], None if bias is None else bias[: 2 * size]
            ).chunk(2, 1)
            reset = f(self.clipped(for_reset + from_reset))
            from_new = F.linear(reset * hidden, weight[2 * size :], None if bias is None else bias[2 * size :])
        update = f(self.clipped(for_update + from_update))
        new = g(self.clipped(for_new + from_new))
        return ((1 - update) * new + update * hidden,)


class Lstm(Recurrent):
    """Gates in the order input, forget, cell, output; in ONNX input, output, forget, cell."""

    operator = "LSTM"
    order = (0, 2, 3, 1)
    standard = ("Sigmoid", "Tanh", "Tanh")
    states = 2

    def _fused_kernel(self) -> Callable[..., Any] | None:
        return None if self.options.input_forget or self.find("peepholes") is not None else torch.lstm

    def step(self, inputs: Tensor, state: State, suffix: str, functions: tuple[Activation, ...]) -> State:
        (hidden, cell), (f, g, h) = state, functions
        for_input, for_forget, for_cell, for_output = (inputs + self.recurrence(hidden, suffix)).chunk(4, 1)
        peepholes = self.find(f"peepholes{suffix}")
        if peepholes is not None:
            of_input, of_output, of_forget = peepholes.chunk(3)
            for_input, for_forget = for_input + of_input * cell, for_forget + of_forget * cell
        entry = f(self.clipped(for_input))
        kept = 1 - entry if self.options.input_forget else f(self.clipped(for_forget))
        cell = kept * cell + entry * g(self.clipped(for_cell))
        if peepholes is not None:
            for_output = for_output + of_output * cell
        return f(self.clipped(for_output)) * h(cell), cell
