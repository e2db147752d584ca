"""Does what was given fit the model? One clear problem for each way in which it does not."""

import numpy as np
import pytest
import torch

from core.data.load import load_data
from core.interface import Interface, Port
from modelpress.job import JobData
from modelpress.problem import DataEmpty, DataError, DataMismatch, DataUnsafe
from modelpress.task import Classification, Match, Regression

F4 = np.dtype(np.float32)
MODEL = Interface((Port("x", F4, ("N", 2, 3)),), (Port("y", F4, ("N", 4)),))
X, Y = np.arange(60, dtype=np.float32).reshape(10, 2, 3), np.arange(10) % 4


def load(folder, arrays, task=None, model=MODEL, labels: str | None = "y", seed=0, **fields):
    np.savez(folder / "d.npz", **arrays)
    data = JobData.model_validate({"train": {"format": "npz", "files": ["d.npz"], "labels": labels, **fields}})
    return load_data(data, folder, folder / "scratch", model, task or Classification(), seed)[0]


def test_batches_hold_prepared_inputs_and_labels(tmp_path):
    data = load(tmp_path, {"x": X, "y": Y}, preparation={"scale": 2.0})
    seen = []
    for role in (data.train, data.select, data.test):
        for inputs, labels in role.batches(4):
            assert inputs["x"].dtype == torch.float32
            assert labels.dtype == torch.int64
            rows = (inputs["x"][:, 0, 0] / 12).long()
            assert torch.equal(labels, rows % 4)
            seen += rows.tolist()
    assert sorted(seen) == list(range(10))


def test_shuffling_follows_the_generator_and_changes_nothing_else(tmp_path):
    train = load(tmp_path, {"x": X, "y": Y}).train
    orders = []
    for seed in (1, 1, 2):
        batches = train.batches(2, torch.Generator().manual_seed(seed))
        orders.append(torch.cat([inputs["x"][:, 0, 0] for inputs, _ in batches]).tolist())
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_what_steps_see_has_no_test_samples(tmp_path):
    data = load(tmp_path, {"x": X, "y": Y})
    assert len(data.test) == 2
    assert len(data.without_test().test) == 0
    assert len(data.without_test().train) == len(data.train)


def test_taking_some_spreads_over_all(tmp_path):
    train = load(tmp_path, {"x": X, "y": Y}).train
    assert train.take(2).indices.tolist() == [train.indices[0], train.indices[-1]]
    assert len(train.take(0)) == 0


@pytest.mark.parametrize(
    "arrays, error, words",
    [
        ({"x": X, "y": Y + 1}, DataMismatch, "label 4 of sample 3 is outside 0..3"),
        ({"x": X, "y": Y - 1}, DataMismatch, "label -1 of sample 0"),
        ({"x": X, "y": Y.astype(float)}, DataMismatch, "labels are float64"),
        ({"x": X, "y": np.zeros((10, 2), int)}, DataMismatch, "one class a sample"),
        ({"x": X, "y": Y[:9]}, DataMismatch, "x 10, labels 9"),
        ({"x": X.reshape(10, 3, 2), "y": Y}, DataMismatch, r"shape \[3, 2\] after preparation"),
        ({"x": X[:, 0], "y": Y}, DataMismatch, r"takes \[2, 3\]"),
        ({"x": X.astype(str), "y": Y}, DataMismatch, "not numbers"),
        ({"x": X.astype(complex), "y": Y}, DataMismatch, "not numbers"),
        ({"x": X.astype(object), "y": Y}, DataUnsafe, "pickled"),
        ({"x": X[:0], "y": Y[:0]}, DataEmpty, "no samples"),
        ({"x": np.where(X == 13, np.nan, X), "y": Y}, DataError, "sample 2 holds NaN"),
        ({"x": np.float32(1), "y": Y}, DataMismatch, "single number"),
        ({"z": X, "y": Y}, DataMismatch, "no array 'x'"),
    ],
)
def test_wrong_data_are_refused_in_words(tmp_path, arrays, error, words):
    with pytest.raises(error, match=words):
        load(tmp_path, arrays)


def test_floats_are_not_rounded_into_integers_unasked(tmp_path):
    model = Interface((Port("x", np.dtype(np.int64), ("N", 2, 3)),), MODEL.outputs)
    with pytest.raises(DataMismatch, match="takes int64"):
        load(tmp_path, {"x": X, "y": Y}, model=model)
    data = load(tmp_path, {"x": X, "y": Y}, model=model, preparation={"dtype": "int64"})
    assert next(iter(data.train.batches(2)))[0]["x"].dtype == torch.int64


def test_a_type_that_the_model_does_not_take_is_refused(tmp_path):
    with pytest.raises(DataMismatch, match="takes float32"):
        load(tmp_path, {"x": X, "y": Y}, preparation={"dtype": "float64"})


def test_classification_without_labels_says_what_to_do(tmp_path):
    with pytest.raises(DataMismatch, match="no labels") as problem:
        load(tmp_path, {"x": X}, labels=None)
    assert "match" in problem.value.hint


def test_regression_takes_numbers_of_the_outputs_shape(tmp_path):
    data = load(tmp_path, {"x": X, "y": np.ones((10, 4))}, Regression())
    assert data.train.labels.shape == (6, 4)
    assert data.train.labels.dtype == np.float32
    with pytest.raises(DataMismatch, match="labels have shape"):
        load(tmp_path, {"x": X, "y": np.ones((10, 3))}, Regression())


def test_files_are_named_and_never_paths(tmp_path):
    (tmp_path / "secret.npz").write_bytes(b"")
    data = JobData.model_validate({"train": {"format": "npz", "files": ["../secret.npz"]}})
    (tmp_path / "inputs").mkdir()
    with pytest.raises(DataError, match="no file"):
        load_data(data, tmp_path / "inputs", tmp_path, MODEL, Match(), 0)


def test_an_evaluation_set_leaves_all_of_the_first_for_training(tmp_path):
    np.savez(tmp_path / "a.npz", x=X)
    np.savez(tmp_path / "b.npz", x=X[:4])
    one, two = ({"format": "npz", "files": [name]} for name in ("a.npz", "b.npz"))
    data, _ = load_data(JobData.model_validate({"train": one, "eval": two}), tmp_path, tmp_path, MODEL, Match(), 0)
    assert [(len(role), role.dataset) for role in data.roles] == [
        (10, "train"),
        (10, "train"),
        (2, "eval"),
        (2, "eval"),
    ]


def test_several_files_are_one_data_set(tmp_path):
    np.savez(tmp_path / "a.npz", x=X[:6], y=Y[:6])
    np.savez(tmp_path / "b.npz", x=X[6:], y=Y[6:])
    given = {"train": {"format": "npz", "files": ["a.npz", "b.npz"], "labels": "y"}}
    data, _ = load_data(JobData.model_validate(given), tmp_path, tmp_path, MODEL, Classification(), 0)
    rows = np.concatenate([inputs["x"][:, 0, 0] / 6 for role in data.roles[:1] for inputs, _ in role.arrays(3)])
    assert rows.tolist() == data.train.indices.tolist()


def test_made_up_inputs_fit_the_model_and_repeat():
    model = Interface((Port("a", F4, ("N", 3, None)), Port("b", np.dtype(np.int64), (1, 5))), MODEL.outputs)
    (data, notes), (again, _) = (load_data(JobData(), None, None, model, Match(), 3) for _ in range(2))
    inputs, labels = next(iter(data.test.batches(4)))
    repeated, _ = next(iter(again.test.batches(4)))
    assert data.is_synthetic
    assert notes
    assert labels is None
    assert inputs["a"].shape == (4, 3, 16)
    assert set(inputs["b"].unique().tolist()) <= {0, 1}
    assert torch.equal(inputs["a"], repeated["a"])
    with pytest.raises(DataError, match="needs labelled data"):
        load_data(JobData(), None, None, model, Classification(), 0)
