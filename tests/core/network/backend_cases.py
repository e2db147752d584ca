"""ONNX's own backend tests, each through stock onnxruntime, through our import and export, and through torch.

python -m tests.core.network.backend_cases [PATTERN ...]    one line a case; patterns match names and operators
python -m tests.core.network.backend_cases --table          rewrites docs/operators.md
"""

import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from torch import Tensor

from core.network import Network
from core.network.importer import Builder
from core.network.runtime import inside, open_session, run_session
from modelpress.problem import ProblemError

KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted")
OLDEST = 7  # opset
NARROW = {"bfloat16": 2**-6, "float16": 2**-9}
"""Relative tolerance of types that hold fewer digits than the tests' own tolerance asks for."""
NOISE = 1e-5
"""Relative to the greatest element: sums of fp32 that are zero in the expected outputs need not be zero."""


@dataclass(frozen=True)
class Case:
    """One model with one or several sets of inputs and expected outputs."""

    name: str
    kind: str
    model: ModelProto
    data: Sequence[tuple[list[Any], list[Any]]]
    rtol: float
    atol: float

    @property
    def operators(self) -> list[str]:
        return list(dict.fromkeys(node.op_type for node in self.model.graph.node))


@dataclass
class Result:
    """What became of a case.

    Attributes:
        stock: why stock onnxruntime does not pass it; empty where it does.
        failure: where and why we fail it; empty where we don't.
        opaque: reason by index of each source node that does not run in torch.
        native: indices of the others.
    """

    case: Case
    stock: str = ""
    failure: str = ""
    opaque: dict[int, str] = field(default_factory=dict)
    native: set[int] = field(default_factory=set)

    @property
    def state(self) -> str:
        if self.stock:
            return "not run"
        if self.failure:
            return "failed"
        return "opaque" if self.opaque else "native"


# the cases


@cache
def all_cases() -> list[Case]:
    """Every case of an opset that we read."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # the tests' own arithmetic overflows on purpose
        found = [_case(test) for kind in KINDS for test in load_model_tests(kind=kind)]
    return sorted((case for case in found if _opset(case.model) >= OLDEST), key=lambda case: (case.kind, case.name))


def _case(test: TestCase) -> Case:
    if test.model_dir is None:
        assert test.model is not None
        assert test.data_sets is not None
        data = [([_plain(v) for v in inputs], [_plain(v) for v in outputs]) for inputs, outputs in test.data_sets]
        return Case(test.name, test.kind, test.model, data, test.rtol, test.atol)
    folder = Path(test.model_dir)
    model = onnx.load(folder / "model.onnx")
    data = [
        (_read(part, "input", model.graph.input), _read(part, "output", model.graph.output))
        for part in sorted(folder.glob("test_data_set*"))
    ]
    return Case(test.name, test.kind, model, data, test.rtol, test.atol)


def _opset(model: ModelProto) -> int:
    """Of the standard operators; a model without any is as new as can be."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1000)


def _plain(value: Any) -> Any:
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


def _read(folder: Path, role: str, declared: Sequence[onnx.ValueInfoProto]) -> list[Any]:
    count = len(list(folder.glob(f"{role}_*.pb")))
    return [_parse((folder / f"{role}_{k}.pb").read_bytes(), declared[k].type) for k in range(count)]


def _parse(data: bytes, kind: onnx.TypeProto) -> Any:
    if kind.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return numpy_helper.to_array(TensorProto.FromString(data))


# one case


def run_case(case: Case) -> Result:
    result = Result(case)
    result.stock = _reason(lambda: _check_stock(case, case.model))
    if not result.stock:
        result.failure = _reason(lambda: _check_ours(case, result))
    return result


def _reason(check: Any) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check()
    except AssertionError as error:
        return "wrong: " + " ".join(str(error).split())[:300]
    except ProblemError as error:
        return f"{type(error).__name__}: {' '.join(error.detail.split())[:300]}"
    except Exception as error:  # whatever it is, it is the answer
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return ""


def _check_stock(case: Case, model: ModelProto) -> None:
    session = open_session(model)
    for inputs, expected in case.data:
        names = [value.name for value in model.graph.input][: len(inputs)]
        found = run_session(session, dict(zip(names, inputs, strict=True)))
        assert len(found) == len(expected), f"{len(found)} outputs, expected {len(expected)}"
        for value, other in zip(expected, found, strict=True):
            assert getattr(other, "dtype", None) == getattr(value, "dtype", None)
            _assert_close(value, other, case)


def _check_ours(case: Case, result: Result) -> None:
    network = Network.from_proto(case.model)
    builder = Builder(network.index)
    builder.run()
    result.opaque = builder.opaque
    result.native = set(range(len(network.index.nodes))) - builder.opaque.keys()
    assert network.to_proto() is case.model, "an unchanged network is not written as it came"
    for inputs, expected in case.data:
        names = [value.name for value in case.model.graph.input][: len(inputs)]
        given = {name: _as_given(value) for name, value in zip(names, inputs, strict=True)}
        found: dict[str, Any] = network(given)
        for value, name in zip(expected, network.output_names, strict=True):
            _assert_close(value, found[name], case)
    if not result.opaque:
        _check_rewritten(case)


def _as_given(value: Any) -> Any:
    """A tensor where torch has one; double stays double."""
    return torch.from_numpy(value) if getattr(value, "dtype", None) == np.float64 else inside(value)


def _check_rewritten(case: Case) -> None:
    """What our emitters write for every node computes the same."""
    network = Network.from_proto(case.model)
    for node in network.graph.graph.nodes:
        node.meta["source"] = ()
    try:
        _check_stock(case, network.to_proto())
    except Exception as error:
        raise AssertionError(f"rewritten: {error}") from error


def _assert_close(expected: Any, found: Any, case: Case) -> None:
    """Torch's values against the expected: shapes equal, numbers near, whatever type holds them."""
    if isinstance(expected, list | tuple):
        assert isinstance(found, list | tuple), f"expected a sequence, found {type(found).__name__}"
        assert len(found) == len(expected), f"expected {len(expected)} elements, found {len(found)}"
        for one, other in zip(expected, found, strict=True):
            _assert_close(one, other, case)
        return
    if expected is None or found is None:
        assert expected is None
        assert found is None
        return
    expected = np.asarray(expected)
    found = (found.detach().numpy() if isinstance(found, Tensor) else np.asarray(found)).astype(expected.dtype)
    assert found.shape == expected.shape, f"expected shape {expected.shape}, found {found.shape}"
    if expected.dtype == object or expected.dtype.kind in "USb":
        np.testing.assert_array_equal(found, expected)
        return
    wide = expected.astype(np.complex128 if expected.dtype.kind == "c" else np.float64)
    rtol = max(case.rtol, NARROW.get(expected.dtype.name, 0))
    finite = np.abs(wide[np.isfinite(wide)])
    atol = max(case.atol, NOISE * float(finite.max(initial=0)))
    np.testing.assert_allclose(found.astype(wide.dtype), wide, rtol=rtol, atol=atol)


# the command line


def chosen(patterns: Sequence[str]) -> Iterator[Case]:
    """The cases whose name or one of whose operators matches; all without a pattern."""
    for case in all_cases():
        if not patterns or any(fnmatch(text, p) for text in [case.name, *case.operators] for p in patterns):
            yield case


def main(patterns: list[str]) -> None:
    results = [run_case(case) for case in chosen(patterns)]
    for result in results:
        reason = result.stock or result.failure or "; ".join(dict.fromkeys(result.opaque.values()))
        sys.stdout.write(f"{result.state:8} {result.case.name}  {reason}\n")
    states = Counter(result.state for result in results)
    sys.stdout.write(", ".join(f"{count} {state}" for state, count in states.most_common()) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
