"""ONNX's own backend tests: what stock onnxruntime passes, we pass."""

import re

import onnx
import onnxruntime
import pytest

from tests.core.network.backend_cases import DOCUMENT, Result, all_results, operator_table

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return all_results()


def test_no_model_that_onnxruntime_passes_is_failed_by_us(results: list[Result]):
    failures = [f"{result.case.name}: {result.failure}" for result in results if result.failure]
    passed = sum(not result.stock for result in results)
    assert passed > 1800, f"only {passed} of {len(results)} models pass in stock onnxruntime"
    assert not failures, "\n".join(failures)


def test_what_onnxruntime_does_not_pass_it_does_not_implement_or_computes_otherwise(results: list[Result]):
    """A reason that is ours, such as a value that we fed wrongly, would hide a failure."""
    reasons = {result.case.name: result.stock for result in results if result.stock}
    theirs = re.compile(r"\[ONNXRuntimeError\]|wrong: Not equal to tolerance|wrong: .*location mismatch")
    ours = {name: reason for name, reason in reasons.items() if not theirs.search(reason)}
    assert not ours


def test_the_table_of_operators_is_what_the_models_show(results: list[Result]):
    table = operator_table(results)
    written = DOCUMENT.read_text()
    if f"onnx {onnx.__version__} and onnxruntime {onnxruntime.__version__}" not in written:
        pytest.skip("the table is of other versions of onnx and onnxruntime than are installed")
    assert table == written, "docs/operators.md is old: python -m tests.core.network.backend_cases --table"
