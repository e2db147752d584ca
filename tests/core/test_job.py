"""Jobs from folder to folder, in this process."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from core.clock import Clock
from modelpress import steps
from modelpress.inspection import Inspection
from modelpress.problem import (
    DataEmpty,
    DataUnsafe,
    ModelError,
    ModelNotFinite,
    OutOfTime,
    RecipeInvalid,
    StepError,
)
from modelpress.result import Result
from tests.core.job_folders import cnn, events_of, images, job_folder, run_here

PRUNE = {"technique": "prune.filters", "ratio": 0.5, "round_to": 2}
SHARE = {"technique": "share.codebook", "bits": 4}


def value(result, metric, candidate=None, role=None):
    name = candidate or result.best
    found = next(c for c in result.candidates if c.name == name)
    return next(m.value for m in found.measurements if m.subject == name and (m.metric, m.role) == (metric, role))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = job_folder(tmp_path_factory.mktemp("plain") / "job", [])
    return folder, run_here(folder)


def test_a_recipe_of_no_steps_hands_over_the_very_model(plain):
    folder, result = plain
    assert result.best == "original"
    assert (folder / "outputs" / "model.onnx").read_bytes() == (folder / "inputs" / "model.onnx").read_bytes()
    assert Result.model_validate_json((folder / "result.json").read_text()) == result


def test_the_result_lists_every_output_with_its_hash(plain):
    folder, result = plain
    assert {artifact.name for artifact in result.artifacts} == {
        "model.onnx",
        "recipe.yaml",
        "report.html",
        "report.json",
    }
    assert {path.name for path in (folder / "outputs").iterdir()} == {artifact.name for artifact in result.artifacts}


def test_counts_are_those_of_the_model(plain):
    _, result = plain
    assert value(result, "parameters") == 8 * 9 + 8 + 16 * 8 * 9 + 16 + 3 * 16 + 3
    assert value(result, "macs") == 64 * 8 * 9 + 64 * 16 * 8 * 9 + 3 * 16
    assert value(result, "bytes") == (plain[0] / "inputs" / "model.onnx").stat().st_size


def test_accuracy_is_that_of_plain_onnxruntime(plain):
    folder, result = plain
    x, y = images()
    session = onnxruntime.InferenceSession(folder / "inputs" / "model.onnx", providers=["CPUExecutionProvider"])
    right = session.run(None, {"x": x})[0].argmax(1) == y
    measured = [value(result, "top1", role=role) for role in ("select", "test")]
    assert all(0 <= share <= 1 for share in measured)
    # 12 samples each of the 60: their hits are among the hits of all.
    assert sum(round(12 * share) for share in measured) <= right.sum()


def test_the_result_says_which_data_were_used_for_what(plain):
    _, result = plain
    assert {use.role: use.samples for use in result.data} == {"train": 36, "calibrate": 36, "select": 12, "test": 12}


def test_events_end_with_the_whole_job(plain):
    progress = [event["fraction"] for event in events_of(plain[0]) if event["type"] == "progress"]
    assert progress == sorted(progress)
    assert progress[-1] == 1.0


@pytest.fixture(scope="module")
def pressed(tmp_path_factory):
    folder = job_folder(tmp_path_factory.mktemp("pressed") / "job", [PRUNE, SHARE])
    return folder, run_here(folder)


def test_every_candidate_is_kept_and_the_last_is_handed_over(pressed):
    folder, result = pressed
    outputs = folder / "outputs"
    assert [candidate.name for candidate in result.candidates] == ["original", "0-prune.filters", "1-share.codebook"]
    assert result.best == "1-share.codebook"
    assert (outputs / "model.onnx").read_bytes() == (outputs / "candidate-1-share.codebook.onnx").read_bytes()


def test_the_handed_over_model_has_the_interface_of_the_original(pressed):
    folder, _ = pressed
    model = onnx.load(folder / "outputs" / "model.onnx")
    onnx.checker.check_model(model)
    assert list(model.graph.input) == list(cnn().graph.input)
    assert list(model.graph.output) == list(cnn().graph.output)


def test_the_survey_counts_parameters(pressed):
    _, result = pressed
    before, after = value(result, "parameters", "original"), value(result, "parameters")
    assert after < before
    assert result.survey.alpha == pytest.approx(before / after)
    assert result.survey.beta_survey == pytest.approx(before / after - 1)
    assert result.survey.space_saving == pytest.approx(1 - after / before)


def test_only_the_original_and_the_best_are_measured_on_the_test_samples(pressed):
    _, result = pressed
    tested = {c.name for c in result.candidates if any(m.role == "test" for m in c.measurements)}
    assert tested == {"original", "1-share.codebook"}


def test_the_recipe_comes_out_with_all_defaults(pressed):
    folder, _ = pressed
    assert "iterations: 50" in (folder / "outputs" / "recipe.yaml").read_text()


def test_steps_say_what_they_did_and_what_they_left_alone(tmp_path):
    recipe = [
        {"technique": "prune.magnitude", "sparsity": 0.5, "layers": {"skip": ["fc"]}},
        {"technique": "share.codebook", "bits": 6},
        {"technique": "quantize.int8", "reduce_range": "yes"},
    ]
    pruned, shared, quantised = (step.notes for step in run_here(job_folder(tmp_path / "job", recipe)).steps)
    assert "50.0% of the weights are zero: conv1, conv2; not chosen or of another type: fc" in pruned
    assert "64 values a layer (6 bits): conv1, conv2; no other layer has weights" in shared
    assert any("left alone" in note and note.endswith(": fc") for note in shared)
    assert "7-bit weights, 8-bit activations: conv1, conv2, fc; no other layer has weights" in quantised


def test_a_step_that_made_the_file_larger_is_warned_of(tmp_path):
    folder = job_folder(tmp_path / "job", [{"technique": "lowrank.svd"}])
    result = run_here(folder)
    was, now = (value(result, "bytes", name) for name in ("original", "0-lowrank.svd"))
    assert now > was
    warning = f"lowrank.svd: the file grew from {was:.0f} to {now:.0f} bytes"
    assert warning in result.warnings
    assert any(event.get("code") == "file_grew" and event["message"] == warning for event in events_of(folder))


def test_steps_finish_only_after_their_checkpoint_is_there(pressed):
    kinds = [event["type"] for event in events_of(pressed[0]) if event["type"].startswith("step")]
    assert kinds == ["step.started", "step.finished"] * 2


def test_a_finished_job_that_is_run_again_repeats_no_step(pressed):
    folder, result = pressed
    before = len(events_of(folder))
    again = run_here(folder)
    assert not [event for event in events_of(folder)[before:] if event["type"] == "step.started"]
    assert [step.seconds for step in again.steps] == [step.seconds for step in result.steps]


def test_another_recipe_in_the_same_folder_starts_afresh(tmp_path):
    folder = job_folder(tmp_path / "job", [SHARE])
    run_here(folder)
    job = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps({**job, "recipe": [{**SHARE, "bits": 2}]}))
    run_here(folder)
    assert sum(event["type"] == "step.started" for event in events_of(folder)) == 2


def test_limits_that_nothing_keeps_give_the_original_and_a_warning(tmp_path):
    result = run_here(job_folder(tmp_path / "job", [SHARE], target={"max_bytes": 100}))
    assert result.best == "original"
    assert result.candidates[1].inside_limits is False
    assert "100" in result.candidates[1].outside[0]
    assert any("no candidate is inside the limits" in warning for warning in result.warnings)


def test_a_step_that_may_be_skipped_is_listed_and_the_rest_goes_on(tmp_path):
    unfit = {**PRUNE, "round_to": 64, "on_failure": "skip"}
    result = run_here(job_folder(tmp_path / "job", [unfit, SHARE]))
    assert [step.status for step in result.steps] == ["skipped", "done"]
    assert "step 0 (prune.filters)" in result.steps[0].reason
    assert result.best == "1-share.codebook"


def test_a_step_that_may_not_be_skipped_ends_the_job_and_names_itself(tmp_path):
    folder = job_folder(tmp_path / "job", [{**PRUNE, "round_to": 64}])
    with pytest.raises(StepError, match=r"step 0 \(prune.filters\)"):
        run_here(folder)


def test_a_data_set_without_samples_is_refused(tmp_path):
    with pytest.raises(DataEmpty):
        run_here(job_folder(tmp_path / "job", [SHARE], samples=0))


def test_a_layer_that_is_not_there_is_refused_before_any_work(tmp_path):
    folder = job_folder(tmp_path / "job", [SHARE, {**SHARE, "layers": "conv9"}])
    with pytest.raises(RecipeInvalid, match="conv9") as failure:
        run_here(folder)
    assert failure.value.errors[0].pointer == "/recipe/1/layers/names/0"
    assert not [event for event in events_of(folder) if event["type"] == "step.started"]


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    model = cnn()
    broken = numpy_helper.to_array(model.graph.initializer[0]).copy()
    broken[0, 0, 1, 1] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(broken, "conv1.weight"))
    with pytest.raises(ModelNotFinite, match="conv1"):
        run_here(job_folder(tmp_path / "job", [], model=model))


def test_pickled_data_are_refused(tmp_path):
    folder = job_folder(tmp_path / "job", [])
    np.savez(folder / "inputs" / "train.npz", x=np.array([{}, []], dtype=object), y=np.zeros(2, np.int64))
    with pytest.raises(DataUnsafe):
        run_here(folder)


def test_without_data_the_inputs_are_made_up_and_the_result_says_so(tmp_path):
    result = run_here(job_folder(tmp_path / "job", [SHARE], task={"type": "match"}, data={}))
    assert any("made-up" in warning for warning in result.warnings)
    assert {use.dataset for use in result.data} == {"synthetic"}
    assert 0 <= value(result, "agreement", role="test") <= 1


def test_out_of_time_before_the_first_step_is_a_problem(tmp_path):
    with pytest.raises(OutOfTime):
        run_here(job_folder(tmp_path / "job", [SHARE], budget={"run_seconds": 1e-6}))


class EndsAfterTheFirstStep(Clock):
    """Time is up once the first step's checkpoint is there."""

    def __init__(self, folder):
        super().__init__(3600.0)
        self.mark = folder / "checkpoints" / "step-001"

    def check(self):
        if self.mark.exists():
            raise OutOfTime("time is up")


def test_out_of_time_later_hands_over_the_best_so_far(tmp_path):
    folder = job_folder(tmp_path / "job", [SHARE, {"technique": "recover"}])
    result = run_here(folder, EndsAfterTheFirstStep(folder))
    assert result.best == "0-share.codebook"
    assert [step.status for step in result.steps] == ["done", "not_run"]
    assert any("out of time" in warning for warning in result.warnings)


def test_an_equal_seed_gives_an_equal_model_and_leaves_no_trace_of_earlier_randomness(tmp_path):
    recipe = [PRUNE, {"technique": "recover", "epochs": 1}]
    models = []
    for name in ("one", "two"):
        torch.rand(len(models) + 1)
        folder = job_folder(tmp_path / name, recipe, seed=3)
        run_here(folder)
        models.append((folder / "outputs" / "model.onnx").read_bytes())
    assert models[0] == models[1]


def test_models_of_one_sample_at_a_time_are_pressed_too(tmp_path):
    result = run_here(job_folder(tmp_path / "job", [PRUNE, {"technique": "recover", "epochs": 1}], model=cnn(batch=1)))
    assert result.best == "1-recover"


def test_inspecting_finds_layers_costs_and_what_can_be_pruned(tmp_path):
    folder = job_folder(tmp_path / "job", [], kind="inspect")
    found = Inspection.model_validate(run_here(folder).inspection)
    assert [(layer.name, layer.type, layer.macs) for layer in found.layers] == [
        ("conv1", "Conv", 64 * 8 * 9),
        ("conv2", "Conv", 64 * 16 * 8 * 9),
        ("fc", "Gemm", 48),
    ]
    assert [layer.prunable for layer in found.layers] == [8, 16, 0]
    assert found.layers[2].locked
    assert found.operators["Conv"].count == 2
    assert found.operators["Conv"].native
    assert found.inputs[0].shape == ["N", 1, 8, 8]
    assert found.parameters == sum(layer.parameters for layer in found.layers)


def product(axis: int | str) -> onnx.ModelProto:
    """x (n, axis) @ w (5, 4), in a node called `odd`."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="odd")],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", axis])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.ones((5, 4), np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("kind", ["inspect", "compress"])
def test_shapes_that_do_not_fit_are_the_model_s_fault_and_the_node_is_named(tmp_path, kind):
    folder = job_folder(tmp_path / "job", [], kind=kind, model=product(4), task={"type": "match"}, data={})
    with pytest.raises(ModelError, match="odd") as failure:
        run_here(folder)
    assert failure.value.code == "model_invalid"
    assert str(folder) not in failure.value.detail


def test_a_model_that_made_up_sizes_do_not_fit_is_inspected_all_the_same(tmp_path):
    found = run_here(job_folder(tmp_path / "job", [], kind="inspect", model=product("free"))).inspection
    (note,) = found["notes"]
    assert "MatMul node 'odd' can't be computed" in note
    assert "tlparse" not in note


def test_verifying_hashes_the_inputs(tmp_path):
    result = run_here(job_folder(tmp_path / "job", [], kind="verify"))
    assert [artifact.name for artifact in result.artifacts] == ["model.onnx", "train.npz"]
    assert all(len(artifact.sha256) == 64 for artifact in result.artifacts)


def test_every_step_of_the_contract_is_known_by_name():
    assert {steps.name_of(step) for step in steps.ALL} >= {"recover", "prune.filters"}


def test_weights_that_were_pruned_away_are_not_kept_in_the_surveys_sense(tmp_path):
    result = run_here(job_folder(tmp_path / "job", [{"technique": "prune.magnitude", "sparsity": 0.75}]))
    parameters = value(result, "parameters", "original")
    gone = round(0.75 * 72) + round(0.75 * 1152) + round(0.75 * 48)
    assert value(result, "parameters") == parameters
    assert value(result, "nonzeros") == parameters - gone
    assert result.survey.alpha == pytest.approx(parameters / (parameters - gone))
