"""One module per operator family; importing this package fills the tables in `registry`."""

from core.network.ops import activations, arithmetic, conv, linear, moving, norm, pool, quantization, reduction, resize

__all__ = [
    "activations",
    "arithmetic",
    "conv",
    "linear",
    "moving",
    "norm",
    "pool",
    "quantization",
    "reduction",
    "resize",
]
