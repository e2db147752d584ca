import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from core.interface import interface_of
from core.measure.environment import environment
from core.measure.latency import Timing
from core.measure.measurer import Measurer
from core.measure.peak import peak_memory
from core.measure.runner import Runner, open_session
from core.measure.survey import survey
from modelpress.job import Measuring
from modelpress.problem import ModelError
from modelpress.task import Match
from tests.core.job_folders import cnn


@pytest.mark.parametrize("batch", ["N", 1, 4])
def test_a_runner_takes_any_number_of_samples(batch):
    x = np.random.default_rng(0).normal(size=(7, 1, 8, 8)).astype(np.float32)
    proto = cnn(batch=batch)
    free = onnxruntime.InferenceSession(cnn().SerializeToString(), providers=["CPUExecutionProvider"])
    found = Runner(open_session(proto.SerializeToString()), interface_of(proto)).run({"x": x})
    np.testing.assert_allclose(found["logits"], free.run(None, {"x": x})[0], atol=1e-6)


def measurer(folder, proto=None, sample=None, **how):
    onnx.save(proto or cnn(), folder / "original.onnx")
    x = np.zeros((1, 1, 8, 8), np.float32) if sample is None else sample
    return Measurer(folder / "original.onnx", Match(), Measuring(repeats=5, **how), {"x": x}, folder)


def test_a_candidate_is_timed_next_to_the_original_at_every_batch_size(tmp_path):
    onnx.save(cnn(width=2), tmp_path / "thin.onnx")
    found = {f.metric: f for f in measurer(tmp_path, batch_sizes=[4, 1]).speed(tmp_path / "thin.onnx")}
    assert {name for name in found if name.startswith("speedup")} == {"speedup_b1", "speedup_b4"}
    for size in (1, 4):
        ratio = found[f"original_latency_ms_b{size}"].value / found[f"latency_ms_b{size}"].value
        assert found[f"speedup_b{size}"].value == pytest.approx(ratio)
        assert found[f"speedup_b{size}"].low <= ratio <= found[f"speedup_b{size}"].high


def test_a_model_of_fixed_batch_is_timed_at_its_own(tmp_path):
    own = measurer(tmp_path, cnn(batch=4), batch_sizes=[1, 8])
    assert {f.metric for f in own.speed(own.original)} == {"latency_ms_b4", "latency_p95_ms_b4"}


def test_load_time_and_peak_memory_are_measured(tmp_path):
    own = measurer(tmp_path)
    load, peak = own.footprint(own.original)
    assert load.value > 0
    assert peak.unit == "bytes"


def test_peak_memory_is_what_was_held_at_once():
    with peak_memory() as first:
        block = np.ones(64 * 2**20, np.uint8)
        del block
    if first.bytes is not None:  # Linux tells, others don't
        assert 60 * 2**20 < first.bytes < 90 * 2**20


def test_a_model_that_onnxruntime_does_not_run_is_a_problem_with_a_hint(tmp_path):
    with pytest.raises(ModelError, match="onnxruntime can't run") as problem:
        measurer(tmp_path, sample=np.zeros((1, 3, 8, 8), np.float32))
    assert problem.value.hint


def test_timing_tells_the_ratio_of_medians():
    figures = {f.metric: f.value for f in Timing(np.array([4.0, 4, 40]), np.array([1.0, 2, 3])).figures(1)}
    assert figures["speedup_b1"] == 2.0
    assert figures["latency_ms_b1"] == 2.0
    assert figures["original_latency_ms_b1"] == 4.0


def test_the_surveys_formulas():
    found = survey(1000, 250, 1.5)
    assert (found.alpha, found.beta_survey, found.space_saving, found.delta) == (4.0, 3.0, 0.75, 1.5)
    assert survey(None, 250, None).alpha is None


def test_the_environment_names_what_figures_depend_on():
    found = environment(torch.device("cpu"), 3)
    assert found.threads == 3
    assert {"torch", "onnxruntime", "onnx", "numpy", "python"} <= set(found.versions)
    assert found.processor
