import math

import pytest
import torch
import torch.nn.functional as F

from core.training.losses import correct, cross_entropy, distillation, relative_error


def test_two_classes_worked_by_hand():
    """Teacher odds e^2 : 1 at T = 2 are e : 1; the student is undecided."""
    p = math.e / (1 + math.e)
    divergence = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    found = distillation(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]), temperature=2.0)
    assert float(found) == pytest.approx(4 * divergence, rel=1e-6)


def test_no_distance_to_oneself_or_to_a_shifted_self():
    logits = torch.randn(4, 5)
    assert float(distillation(logits + 3.0, logits, 4.0)) == pytest.approx(0.0, abs=1e-6)


def test_log_p_stands_for_logits_at_any_temperature():
    student, teacher = torch.randn(6, 5), torch.randn(6, 5)
    on_logits = distillation(student, teacher, 3.0)
    on_probabilities = distillation(student.softmax(1).log(), teacher.softmax(1).log(), 3.0)
    torch.testing.assert_close(on_probabilities, on_logits)


def test_the_gradient_is_hintons():
    """Section 2.1 of the paper: T^2 / T (q - p) for each sample, where p and q are softened."""
    teacher, T = torch.randn(3, 4), 5.0
    student = torch.randn(3, 4, requires_grad=True)
    distillation(student, teacher, T).backward()
    expected = T * ((student.detach() / T).softmax(1) - (teacher / T).softmax(1)) / len(teacher)
    torch.testing.assert_close(student.grad, expected)


def test_classes_on_another_axis_give_the_mean_over_places():
    student, teacher = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    rows = [t.movedim(1, -1).reshape(-1, 3) for t in (student, teacher)]
    torch.testing.assert_close(distillation(student, teacher, 2.0, dim=1), distillation(rows[0], rows[1], 2.0))


def test_relative_error_of_the_mean_is_one():
    wanted = torch.tensor([[1.0, 3.0]])
    assert float(relative_error(torch.full((1, 2), 2.0), wanted, scale=1.0)) == 1.0


def test_labels_meet_logits_with_trailing_ones():
    logits, labels = torch.randn(4, 3, 1, 1), torch.tensor([0, 2, 1, 1])
    torch.testing.assert_close(cross_entropy(logits, labels), F.cross_entropy(logits[:, :, 0, 0], labels))
    assert float(correct(torch.eye(3)[labels][..., None, None], labels)) == 4.0
