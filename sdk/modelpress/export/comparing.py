"""Whether a file computes what the module computes: on the example, on other values and on other sizes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from modelpress.export.axes import Axes, other_sizes, resized, sizes_of
from modelpress.export.calling import Call

torch: Any = import_module("torch")

TOLERANCES = {torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest difference, as a share of the output's largest value."""
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """Inputs, what the module makes of them, what is special about them, and the sizes of the free axes."""

    what: str
    inputs: Sequence[Any]
    outputs: Sequence[Any]
    sizes: Mapping[str, int]


def can_compare() -> bool:
    return find_spec("onnxruntime") is not None


def cases_of(call: Call, axes: Axes) -> list[Case]:
    """All that the module takes; the example comes first."""
    now, cases = sizes_of(call, axes), []
    for what, inputs, sizes in _inputs(call, axes):
        try:
            cases.append(Case(what, inputs, call.run(inputs), {**now, **sizes}))
        except Exception:  # forward raises anything, and may not take every value
            continue
    return cases


def _inputs(call: Call, axes: Axes) -> Iterator[tuple[str, Sequence[Any], dict[str, int]]]:
    generator = torch.Generator().manual_seed(0)
    yield "the example", call.example, {}
    yield "other values", _drawn(call.example, generator, 1.0), {}
    negative = tuple(-tensor if tensor.is_floating_point() else tensor for tensor in call.example)
    yield "negative values", negative, {}
    yield "tenfold values", _drawn(call.example, generator, 10.0), {}
    for sizes in other_sizes(call, axes):
        said = " and ".join(f"{label} {size}" for label, size in sizes.items())
        yield said, _drawn(resized(call, axes, sizes), generator, 1.0), sizes


def _drawn(tensors: Sequence[Any], generator: Any, scale: float) -> tuple[Any, ...]:
    return tuple(_drawn_like(tensor, generator, scale) for tensor in tensors)


def _drawn_like(tensor: Any, generator: Any, scale: float) -> Any:
    """Real numbers with noise of their own spread; whole numbers of the same range; truth values in another order."""
    if tensor.numel() == 0 or tensor.is_complex():
        return tensor
    if tensor.is_floating_point():
        spread = tensor.float().std(correction=0).clamp(min=0.1)
        noise = torch.randn(tensor.shape, generator=generator).to(tensor.device)
        return (scale * (tensor.float() + noise * spread)).to(tensor.dtype)
    if tensor.dtype == torch.bool:
        return tensor.roll(1, 0) if tensor.dim() else tensor
    low, high = int(tensor.min()), int(tensor.max())
    return torch.randint(low, high + 1, tensor.shape, generator=generator).to(tensor)


def check(path: Path, call: Call, cases: Sequence[Case]) -> None:
    """Compare the file in onnxruntime, on the CPU, with the module.

    Raises:
        ValueError: they differ; says on what, where and how much.
    """
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    if missing := [name for name in call.input_names if name not in names]:
        raise ValueError(f"the file takes no {missing[0]!r}")
    for case in cases:
        feed = {name: tensor.cpu().numpy() for name, tensor in zip(call.input_names, case.inputs, strict=True)}
        came = session.run(list(call.output_names), feed)
        for name, expected, found in zip(call.output_names, case.outputs, came, strict=True):
            if fault := difference(expected, torch.from_numpy(found)):
                raise ValueError(f"on {case.what}, {name!r} {fault}")


def difference(expected: Any, came: Any) -> str:
    """What is wrong with an output; nothing where it is right. NaN equals NaN."""
    expected = expected.detach().cpu()
    if expected.shape != came.shape or expected.dtype != came.dtype:
        return f"is {came.dtype} of shape {tuple(came.shape)}, not {expected.dtype} of {tuple(expected.shape)}"
    if not expected.is_floating_point():
        wrong = int((expected != came).sum())
        return f"differs in {wrong} of {expected.numel()} values" if wrong else ""
    equal = (expected == came) | (expected.isnan() & came.isnan())
    expected, gap = expected.double(), (expected.double() - came.double()).masked_fill(equal, 0.0).abs()
    largest = float(expected[expected.isfinite()].abs().max()) if expected.isfinite().any() else 0.0
    most = float(gap.max()) if gap.numel() else 0.0
    return "" if most <= TOLERANCES.get(came.dtype, TOLERANCE) * largest + 1e-6 else f"differs by {most:.3g}"
