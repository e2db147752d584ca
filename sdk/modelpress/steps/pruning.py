"""Pruning: fewer weights, or fewer filters."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from modelpress.steps.base import MATRICES, WEIGHTS, LayerStep, Stage


class MagnitudePruning(LayerStep):
    """Zero the weights nearest to zero. Compresses well; runs no faster by itself."""

    stage = Stage.WEIGHTS
    family = "pruning"
    kinds: ClassVar[tuple[str, ...]] = WEIGHTS

    technique: Literal["prune.magnitude"] = "prune.magnitude"
    sparsity: float = Field(default=0.5, ge=0.0, lt=1.0, description="Fraction of the weights set to zero.")
    scope: Literal["layer", "global"] = Field(
        default="layer", description="Whether each layer loses the fraction, or all chosen layers together."
    )
    gradual: int = Field(
        default=1,
        ge=1,
        le=100,
        description="Number of cuts along a cubic schedule, with fine-tuning after each but the last.",
    )
    epochs: float = Field(
        default=1.0, ge=0.0, le=1000.0, description="Epochs of fine-tuning between two cuts, by self-distillation."
    )


class FilterPruning(LayerStep):
    """Remove whole filters, attention heads and hidden units, with all that depended on them. Really faster."""

    stage = Stage.STRUCTURE
    family = "pruning"
    kinds: ClassVar[tuple[str, ...]] = MATRICES

    technique: Literal["prune.filters"] = "prune.filters"
    criterion: Literal["l1", "l2", "bn_scale", "taylor"] = Field(
        default="l2",
        description="How a filter's worth is judged: norm of its weights, scale of its batch norm, or loss change.",
    )
    ratio: float | None = Field(
        default=None, gt=0.0, lt=1.0, description="Fraction of the filters to remove. Give this or `macs`."
    )
    macs: float | None = Field(
        default=None,
        gt=0.0,
        lt=1.0,
        description="Fraction of the network's multiply-accumulates to keep. Give this or `ratio`.",
    )
    scope: Literal["layer", "global"] = Field(
        default="global", description="Whether each group loses the fraction, or the worst filters of all groups go."
    )
    round_to: int = Field(
        default=8,
        ge=1,
        le=64,
        description="Filter counts stay multiples of this: runtimes are fast only on full registers.",
    )

    approximate: bool = Field(
        default=False,
        description="Whether channels may go that a normalisation averages over, as the width of a transformer is. "
        "What is left is then averaged over fewer: an approximation even where the removed channels were zero.",
    )

    @model_validator(mode="after")
    def one_amount(self) -> "FilterPruning":
        if self.ratio is None and self.macs is None:
            self.ratio = 0.5
        elif self.ratio is not None and self.macs is not None:
            raise ValueError("give `ratio` or `macs`, not both")
        return self
