"""Activations as integers: what is observed, how it is rounded, where that happens."""

from core.quantizers.activation import ActivationQuantizer

__all__ = ["ActivationQuantizer"]
