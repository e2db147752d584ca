"""What else may be asked: data, splits, jobs; strict on the way in, lenient on the way out."""

from typing import Any

import pytest
from pydantic import BaseModel

from modelpress.data import DatasetFormat, Preparation, Splits
from modelpress.events import Progress, UnknownEvent, parse_event
from modelpress.job import Job, JobData
from modelpress.problem import RequestInvalid
from modelpress.resources import ApiKeyRequest, JobDataRequest, JobRequest, ModelRequest, UploadRequest
from modelpress.resources import Job as JobAnswer
from modelpress.validation import parse_request

JOB = {"model_id": "mdl_1", "recipe": []}
QUANTISED_TOO_EARLY = [{"technique": "quantize.int8"}, {"technique": "prune.filters"}]


@pytest.mark.parametrize(
    "model, raw, pointer",
    [
        (JobRequest, {**JOB, "recipe": [{"technique": "recover", "epochs": -1}]}, "/recipe/0/epochs"),
        (JobRequest, {**JOB, "recipe": QUANTISED_TOO_EARLY}, "/recipe/1"),
        (JobRequest, {**JOB, "recipe": 3}, "/recipe"),
        (JobRequest, {**JOB, "recipe": ""}, "/recipe"),
        (JobRequest, {**JOB, "task": {"type": "match", "labels": "y"}}, "/task/labels"),
        (JobRequest, {**JOB, "task": {"type": "guess"}}, "/task/type"),
        (JobRequest, {**JOB, "data": {"splits": {"train": 2}}}, "/data/splits/train"),
        (JobRequest, {**JOB, "data": {"splits": {"train": {"start": 1}}}}, "/data/splits/train/stop"),
        (JobRequest, {**JOB, "measuring": {"batch_sizes": [1, 0]}}, "/measuring/batch_sizes/1"),
        (JobRequest, {**JOB, "seed": -1}, "/seed"),
        (JobRequest, {**JOB, "seed": True}, "/seed"),
        (JobRequest, {**JOB, "seed": "1"}, "/seed"),
        (JobRequest, {**JOB, "measuring": {"batch_sizes": ["1"]}}, "/measuring/batch_sizes/0"),
        (JobRequest, {**JOB, "data": {"splits": {"train": "0.5"}}}, "/data/splits/train"),
        (JobRequest, {**JOB, "recipe": [{"technique": "prune.filters", "ratio": "0.5"}]}, "/recipe/0/ratio"),
        (
            JobRequest,
            {**JOB, "recipe": [{"technique": "lowrank.svd", "only_if_smaller": 1}]},
            "/recipe/0/only_if_smaller",
        ),
        (DatasetFormat, {"format": "npz", "preparation": {"resize": [8, "8"]}}, "/preparation/resize/1"),
        (JobRequest, {**JOB, "tags": {"k": 1}}, "/tags/k"),
        (JobRequest, {**JOB, "sparsity": 0.5}, "/sparsity"),
        (JobRequest, {"recipe": []}, "/model_id"),
        (ModelRequest, {"name": "m", "files": [{"path": "../x", "upload_id": "u"}]}, "/files/0/path"),
        (UploadRequest, {"filename": "f", "size_bytes": 1, "sha256": "XYZ"}, "/sha256"),
        (DatasetFormat, {"format": "pickle"}, "/format"),
        (DatasetFormat, {"format": "npz", "preparation": {"std": [0.0]}}, "/preparation"),
        (Preparation, {"scale": float("inf")}, "/scale"),
        (Job, {"recipe": [{"technique": "lowrank.svd", "energy": 1.0}]}, "/recipe/0/energy"),
    ],
)
def test_what_is_wrong_is_refused_with_the_path_to_it(model: type[BaseModel], raw: dict[str, Any], pointer: str):
    with pytest.raises(RequestInvalid) as refused:
        parse_request(model, raw)
    assert [error.pointer for error in refused.value.errors] == [pointer]


@pytest.mark.parametrize(
    "splits, said",
    [
        ({"train": 0.8, "select": 0.2, "test": 0.2}, "more than 1"),
        ({"train": {"start": 0, "stop": 5}}, "all of train, select and test"),
        (
            {"train": {"start": 5, "stop": 5}, "select": {"start": 0, "stop": 1}, "test": {"start": 1, "stop": 2}},
            "above start",
        ),
    ],
)
def test_splits_that_can_not_be_made_are_refused(splits: dict[str, Any], said: str):
    with pytest.raises(RequestInvalid, match=said):
        parse_request(Splits, splits)


def ranges(*bounds: tuple[int, int]) -> dict[str, Any]:
    return {
        name: {"start": start, "stop": stop}
        for name, (start, stop) in zip(("train", "select", "test"), bounds, strict=True)
    }


@pytest.mark.parametrize("model", [JobData, JobDataRequest])
def test_no_sample_of_one_set_has_two_roles(model: type[BaseModel]):
    with pytest.raises(RequestInvalid, match=r"select .* and test .* overlap"):
        parse_request(model, {"splits": ranges((0, 10), (10, 20), (19, 30))})
    with pytest.raises(RequestInvalid, match=r"train .* and test .* overlap"):
        parse_request(model, {"splits": ranges((5, 10), (10, 20), (0, 6))})
    parse_request(model, {"splits": ranges((0, 10), (10, 20), (20, 30))})


def test_a_set_of_its_own_to_measure_on_is_counted_from_0_again():
    parse_request(JobDataRequest, {"train": "a", "eval": "b", "splits": ranges((0, 90), (0, 5), (5, 9))})


def test_splits_may_be_declared_as_ranges():
    parts = {name: {"start": i * 10, "stop": i * 10 + 10} for i, name in enumerate(("train", "select", "test"))}
    assert Splits.model_validate(parts).model_dump(include=set(parts)) == parts


def test_json_still_says_floats_as_whole_numbers_tuples_as_lists_and_moments_as_text():
    raw = {"format": "images", "preparation": {"scale": 1, "resize": [8, 8]}}
    found = parse_request(DatasetFormat, raw).preparation
    assert (found.scale, found.resize) == (1.0, (8, 8))
    assert parse_request(ApiKeyRequest, {"name": "k", "expires_at": "2030-01-01T00:00:00Z"}).expires_at is not None


def test_a_job_survives_json_with_all_its_defaults():
    job = Job.model_validate({"recipe": [{"technique": "prune.filters"}], "task": {"type": "classification"}})
    assert Job.model_validate_json(job.model_dump_json()) == job


def test_an_answer_from_a_newer_service_is_read_and_kept():
    raw = {"id": "job_1", "state": "hibernating", "is_terminal": False, "created_at": "2030-01-01T00:00:00Z"}
    job = JobAnswer.model_validate({**raw, "recipe": [{"technique": "prune.by_magic"}], "mood": "good"})
    assert job.state == "hibernating"
    assert job.recipe == [{"technique": "prune.by_magic"}]
    assert job.model_dump()["mood"] == "good"


def test_known_events_have_their_types_and_unknown_ones_are_kept():
    assert isinstance(parse_event({"type": "progress", "phase": "x", "fraction": 0.5}), Progress)
    unknown = parse_event({"type": "weather", "sunny": True})
    assert isinstance(unknown, UnknownEvent)
    assert unknown.model_dump() == {"type": "weather", "sunny": True}
