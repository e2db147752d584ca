"""Losses between a network and its original, and between a network and labels."""

import torch.nn.functional as F
from torch import Tensor


def distillation(student: Tensor, teacher: Tensor, temperature: float, dim: int = 1) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), the mean over all other axes.

    Hinton, Vinyals and Dean 2015, arXiv:1503.02531, section 2; the cross-entropy there differs by the teacher's
    entropy, which no gradient sees. T^2 keeps the gradient's size as T changes. Logits may be log p of a
    probability: softmax(log p / T) is the same softened distribution.
    """
    target = F.log_softmax(teacher.float() / temperature, dim)
    found = F.log_softmax(student.float() / temperature, dim)
    divergence = F.kl_div(found, target, reduction="none", log_target=True).sum(dim)
    return temperature**2 * divergence.mean()


def relative_error(found: Tensor, wanted: Tensor, scale: float) -> Tensor:
    """Mean squared error over `scale`, the variance of what is wanted, so that 1 means "no better than the mean"."""
    return F.mse_loss(found.float(), wanted.float()) / scale


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Classes on axis 1 against integer labels; axes of size 1 behind the classes are ignored."""
    if labels.dim() == 1:
        logits = logits.flatten(1)
    return F.cross_entropy(logits.float(), labels.long())


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """How many samples have their greatest logit at the label, as a float64 scalar."""
    if labels.dim() == 1:
        logits = logits.flatten(1)
    return (logits.argmax(1) == labels).double().mean() * len(labels)
