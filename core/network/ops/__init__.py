"""One module per operator family; importing this package fills the tables in `registry`."""

from core.network.ops import (
    activations,
    arithmetic,
    bits,
    computed_sizes,
    conv,
    fused,
    group_norm,
    layer_norm,
    linear,
    moving,
    norm,
    pool,
    quantization,
    recurrent_files,
    reduction,
    resize,
)

__all__ = [
    "activations",
    "arithmetic",
    "bits",
    "computed_sizes",
    "conv",
    "fused",
    "group_norm",
    "layer_norm",
    "linear",
    "moving",
    "norm",
    "pool",
    "quantization",
    "recurrent_files",
    "reduction",
    "resize",
]
