"""What may be asked: one class a technique, in a union told apart by `technique`."""

from typing import Annotated

from pydantic import Field, TypeAdapter

from modelpress.steps.base import Layers, LayerStep, Stage, Step
from modelpress.steps.distillation import StudentDistillation
from modelpress.steps.filters import DepthwiseSeparable
from modelpress.steps.lowrank import SvdFactorisation, TuckerFactorisation
from modelpress.steps.pruning import FilterPruning, MagnitudePruning
from modelpress.steps.recovery import Recover
from modelpress.steps.sharing import CodebookSharing, Int8Quantization

ALL: tuple[type[Step], ...] = (
    MagnitudePruning,
    FilterPruning,
    CodebookSharing,
    Int8Quantization,
    SvdFactorisation,
    TuckerFactorisation,
    DepthwiseSeparable,
    StudentDistillation,
    Recover,
)

AnyStep = Annotated[
    MagnitudePruning
    | FilterPruning
    | CodebookSharing
    | Int8Quantization
    | SvdFactorisation
    | TuckerFactorisation
    | DepthwiseSeparable
    | StudentDistillation
    | Recover,
    Field(discriminator="technique"),
]

step_adapter: TypeAdapter[AnyStep] = TypeAdapter(AnyStep)


def name_of(step: type[Step]) -> str:
    """The technique's name, such as `prune.filters`."""
    return step.model_fields["technique"].default


__all__ = [
    "ALL",
    "AnyStep",
    "CodebookSharing",
    "DepthwiseSeparable",
    "FilterPruning",
    "Int8Quantization",
    "LayerStep",
    "Layers",
    "MagnitudePruning",
    "Recover",
    "Stage",
    "Step",
    "StudentDistillation",
    "SvdFactorisation",
    "TuckerFactorisation",
    "name_of",
    "step_adapter",
]
