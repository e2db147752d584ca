import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error, top_k_accuracy_score

from core.tasks import score_of
from modelpress.task import Classification, Match, Regression

RANDOM = np.random.default_rng(0)


def figures(task, output, labels=None, reference=None):
    """Fed in two batches."""
    score = score_of(task)
    reference = output if reference is None else reference
    for rows in (slice(0, 7), slice(7, None)):
        score.add(output[rows], None if labels is None else labels[rows], reference[rows])
    return {figure.metric: figure for figure in score.figures()}


def test_top1_and_top5_are_scikit_learns():
    output, labels = RANDOM.normal(size=(40, 9)).astype(np.float32), RANDOM.integers(0, 9, 40)
    found = figures(Classification(), output, labels)
    assert found["top1"].value == pytest.approx((output.argmax(1) == labels).mean())
    assert found["top5"].value == pytest.approx(top_k_accuracy_score(labels, output, k=5, labels=range(9)))
    assert next(iter(found)) == "top1"


def test_ties_go_to_the_lower_class():
    found = figures(Classification(), np.zeros((10, 3), np.float32), np.arange(10) % 3)
    assert found["top1"].value == pytest.approx(0.4)


def test_five_classes_or_fewer_have_no_top5():
    assert set(figures(Classification(), np.eye(5, dtype=np.float32)[np.arange(10) % 5], np.arange(10) % 5)) == {"top1"}


def test_classes_may_have_trailing_axes_of_one():
    output = np.eye(3, dtype=np.float32)[np.arange(12) % 3].reshape(12, 3, 1, 1)
    assert figures(Classification(), output, np.arange(12) % 3)["top1"].value == 1.0


def test_regression_is_scikit_learns_and_inside_its_interval():
    labels = RANDOM.normal(size=(60, 2)).astype(np.float32)
    output = labels + 0.3 * RANDOM.normal(size=(60, 2)).astype(np.float32)
    found = figures(Regression(), output, labels)
    flat = labels.ravel(), output.ravel()
    assert found["rmse"].value == pytest.approx(root_mean_squared_error(*flat), rel=1e-5)
    assert found["mae"].value == pytest.approx(mean_absolute_error(*flat), rel=1e-5)
    assert found["r2"].value == pytest.approx(r2_score(*flat), rel=1e-5)
    assert all(f.low < f.value < f.high for f in found.values())


def test_r2_is_null_where_the_truth_does_not_vary():
    found = figures(Regression(), RANDOM.normal(size=(10, 1)), np.full((10, 1), 7.0, np.float32))
    assert found["r2"].value is None
    assert found["rmse"].value > 0


def test_match_counts_equal_classes_and_relative_errors():
    reference = np.eye(4, dtype=np.float32)[np.arange(10) % 4]
    output = 1.1 * reference
    output[0] = output[0, ::-1]
    found = figures(Match(), output, reference=reference)
    assert found["agreement"].value == pytest.approx(0.9)
    assert found["relative_error"].value == pytest.approx((9 * 0.1 + np.sqrt(1 + 1.1**2)) / 10, rel=1e-5)
    assert next(iter(found)) == "agreement"


def test_match_without_classes_has_the_error_alone():
    output = RANDOM.normal(size=(10, 3, 4)).astype(np.float32)
    found = figures(Match(), output, reference=output)
    assert set(found) == {"relative_error"}
    assert found["relative_error"].value == 0.0
