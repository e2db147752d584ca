"""ONNX's own backend tests, each through stock onnxruntime, through our import and export, and through torch.

python -m tests.core.network.backend_cases [PATTERN ...]    one line a case; patterns match names and operators
python -m tests.core.network.backend_cases --table          rewrites docs/operators.md
"""

import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from torch import Tensor

from core.network import Network
from core.network.checks import check_model
from core.network.importer import Builder
from core.network.runtime import inside, open_session, run_session
from core.network.source import Source
from modelpress.problem import ProblemError

KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted")
OLDEST = 7  # opset
DOCUMENT = Path(__file__).parents[3] / "docs" / "operators.md"
HEAD = """# Operators

<!-- Written by `python -m tests.core.network.backend_cases --table`; a test holds it to what the code does. -->

Any operator that onnxruntime runs is kept. A *native* one is run in torch: gradients pass through it, and its layers
can be compressed. An *opaque* one is run by onnxruntime in place: the network computes the same, but what lies before
it gets no gradient through it.

Counted over the nodes of {count:,} models: the ONNX project's own backend tests of opset 7 and newer, those of one
operator a second time with all inputs but the first as weights, as far as onnxruntime loads them
({versions}). {native:,} of the models are native from end to end. The version is
that of the operator's definition; what runs partly in torch says for which nodes it does not.

| operator | runs | versions | native nodes | opaque nodes | opaque because |
|---|---|---|---|---|---|
"""
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
        refusal: why stock onnxruntime does not load it; empty where it does.
        stock: why stock onnxruntime does not pass it; empty where it does.
        failure: where and why we fail it; empty where we don't.
        opaque: reason by index of each source node that does not run in torch.
        nodes: of the model, functions inlined.
    """

    case: Case
    refusal: str = ""
    stock: str = ""
    failure: str = ""
    opaque: dict[int, str] = field(default_factory=dict)
    nodes: Sequence[NodeProto] = ()

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
    cases = [case for case in found if _opset(case.model) >= OLDEST]
    weighted = [_with_weights(case) for case in cases if _is_one_operator(case)]
    return sorted([*cases, *weighted], key=lambda case: (case.kind, case.name))


def _is_one_operator(case: Case) -> bool:
    """Whether it is one node of one data input and of others that could be weights."""
    inputs = case.data[0][0]
    return len(case.model.graph.node) == 1 and len(inputs) > 1 and all(_could_be_a_weight(one) for one in inputs)


def _could_be_a_weight(value: Any) -> bool:
    """Weights that are NaN are refused."""
    return isinstance(value, np.ndarray) and not (value.dtype.kind == "f" and np.isnan(value).any())


def _with_weights(case: Case) -> Case:
    """All inputs but the first as initialisers, as networks have them."""
    model = ModelProto()
    model.CopyFrom(case.model)
    inputs, expected = case.data[0]
    for value, array in zip(list(model.graph.input[1:]), inputs[1:], strict=True):
        model.graph.initializer.append(numpy_helper.from_array(array, value.name))
    del model.graph.input[1:]
    return replace(case, name=f"{case.name} (weights)", model=model, data=[(inputs[:1], expected)])


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
    """The case, or where the runtime is too old for it the same model in an older opset, if that passes."""
    result = _run(case)
    older = _in_older_opset(case) if result.refusal else None
    if older is not None and not (found := _run(older)).stock:
        return found
    return result


def _in_older_opset(case: Case) -> Case | None:
    """With the opset from before the newest of its operators was last changed; None where onnx knows no such model."""
    model = ModelProto()
    model.CopyFrom(case.model)
    standard = [entry for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    nodes = [node for node in model.graph.node if node.domain in ("", "ai.onnx")]
    if not standard or not nodes:
        return None
    try:
        changed = max(onnx.defs.get_schema(node.op_type, standard[0].version).since_version for node in nodes)
        standard[0].version = changed - 1
        onnx.checker.check_model(model)
    except (onnx.defs.SchemaError, onnx.checker.ValidationError):
        return None
    return replace(case, name=f"{case.name} (opset {changed - 1})", model=model)


def _run(case: Case) -> Result:
    result = Result(case)
    result.refusal = result.stock = _reason(lambda: open_session(case.model))
    if not result.refusal:
        result.stock = _reason(lambda: _check_stock(case, case.model))
        unread = _reason(lambda: _sort_nodes(case, result))
        result.failure = "" if result.stock else unread or _reason(lambda: _check_ours(case, result))
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


def _sort_nodes(case: Case, result: Result) -> None:
    builder = Builder(Source(check_model(case.model)))
    builder.run()
    result.nodes = builder.source.nodes
    result.opaque = builder.opaque


def _check_ours(case: Case, result: Result) -> None:
    network = Network.from_proto(case.model)
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


def all_results() -> list[Result]:
    return [run_case(case) for case in all_cases()]


def main(patterns: list[str]) -> None:
    if patterns == ["--table"]:
        DOCUMENT.write_text(operator_table(all_results()))
        return
    results = [run_case(case) for case in chosen(patterns)]
    for result in results:
        reason = result.stock or result.failure or "; ".join(dict.fromkeys(result.opaque.values()))
        sys.stdout.write(f"{result.state:8} {result.case.name}  {reason}\n")
    states = Counter(result.state for result in results)
    sys.stdout.write(", ".join(f"{count} {state}" for state, count in states.most_common()) + "\n")


# the table


def operator_table(results: Sequence[Result]) -> str:
    """Markdown: per operator how it runs, counted over the nodes of all models that onnxruntime loads."""
    uses: dict[str, Use] = {}
    for result in results:
        for index, node in enumerate(result.nodes):
            domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}."
            use = uses.setdefault(domain + node.op_type, Use())
            use.add(_version(node, result.case.model), result.opaque.get(index))
    rows = [uses[name].row(name) for name in sorted(uses, key=lambda name: ("." in name, name))]
    count = sum(bool(result.nodes) for result in results)
    native = sum(bool(result.nodes) and not result.opaque for result in results)
    versions = f"onnx {onnx.__version__} and onnxruntime {onnxruntime.__version__}"
    return HEAD.format(versions=versions, count=count, native=native) + "".join(rows)


@dataclass
class Use:
    """How the nodes of one operator ran: the versions of its definition, and how many for which reason."""

    versions: set[int] = field(default_factory=set)
    native: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, version: int, reason: str | None) -> None:
        self.versions.add(version)
        if reason is None:
            self.native += 1
        else:
            self.reasons[reason] += 1

    def row(self, name: str) -> str:
        how = "partly" if self.native and self.reasons else "native" if self.native else "opaque"
        why = "; ".join(sorted(self.reasons)) if how == "partly" else ""
        versions = ", ".join(map(str, sorted(self.versions)))
        return f"| {name} | {how} | {versions} | {self.native} | {self.reasons.total()} | {why} |\n"


def _version(node: NodeProto, model: ModelProto) -> int:
    """Of the operator's definition in force; that of the domain where onnx has none."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    imported = {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in model.opset_import}
    try:
        return onnx.defs.get_schema(node.op_type, imported[domain], domain).since_version
    except onnx.defs.SchemaError:
        return imported[domain]


if __name__ == "__main__":
    main(sys.argv[1:])
