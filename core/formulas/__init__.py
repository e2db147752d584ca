"""Ways to store a weight in fewer numbers, each able to fit, compute, count, write and cut itself."""

from core.formulas.affine import AffineInt8
from core.formulas.bias import BiasInt32
from core.formulas.codebook import Codebook
from core.formulas.emitter import Emitter
from core.formulas.formula import Formula, Stored, from_config, restore, to_config
from core.formulas.masked import Masked
from core.formulas.reparametrise import attach, computed, detach, formula_of

__all__ = [
    "AffineInt8",
    "BiasInt32",
    "Codebook",
    "Emitter",
    "Formula",
    "Masked",
    "Stored",
    "attach",
    "computed",
    "detach",
    "formula_of",
    "from_config",
    "restore",
    "to_config",
]
