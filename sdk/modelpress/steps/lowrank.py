"""Low-rank factorisation: one layer becomes two or three thinner ones."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from modelpress.steps.base import LayerStep, Stage


class LowRank(LayerStep):
    """What the factorisations share: how the rank is chosen."""

    stage = Stage.STRUCTURE
    family = "lowrank"

    energy: float | None = Field(
        default=None,
        gt=0.0,
        lt=1.0,
        description="Share of the squared singular values to keep. Give one of energy, ratio, macs.",
    )
    ratio: float | None = Field(default=None, gt=0.0, lt=1.0, description="Rank as a fraction of the full rank.")
    macs: float | None = Field(
        default=None, gt=0.0, lt=1.0, description="Fraction of each layer's multiply-accumulates to keep."
    )
    round_to: int = Field(
        default=8, ge=1, le=64, description="Ranks are multiples of this where the full rank allows it."
    )
    only_if_smaller: bool = Field(default=True, description="Leave a layer alone where its factors would cost as much.")

    @model_validator(mode="after")
    def one_amount(self) -> Self:
        given = [name for name in ("energy", "ratio", "macs") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of `energy`, `ratio` and `macs`, not {' and '.join(given)}")
        if not given:
            self.energy = 0.9
        return self


class SvdFactorisation(LowRank):
    """Split a matrix or a kernel in two by truncated singular values."""

    kinds: ClassVar[tuple[str, ...]] = ("Conv", "Gemm", "MatMul")

    technique: Literal["lowrank.svd"] = "lowrank.svd"
    scheme: Literal["channel", "spatial"] = Field(
        default="channel",
        description="For kernels: K filters and a 1x1 (`channel`), or d x 1 and 1 x d (`spatial`, Jaderberg; Tai).",
    )


class TuckerFactorisation(LowRank):
    """Split a kernel in three: 1x1, a small kernel, 1x1 (Tucker-2 by truncated HOSVD)."""

    kinds: ClassVar[tuple[str, ...]] = ("Conv",)

    technique: Literal["lowrank.tucker"] = "lowrank.tucker"
