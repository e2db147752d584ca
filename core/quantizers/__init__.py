"""Activations as integers: what is observed, how it is rounded, where that happens."""

from core.quantizers.activation import ActivationQuantizer, switched_off

__all__ = ["ActivationQuantizer", "switched_off"]
