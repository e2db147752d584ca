"""The figures of Cheng, Wang, Zhou and Zhang, "A Survey of Model Compression and Acceleration for Deep Neural
Networks", arXiv:1710.09282, section VII, by their formulas: a and a* parameters, s and s* running times."""

from modelpress.result import Survey


def survey(parameters: int | None, kept: int | None, speedup: float | None) -> Survey:
    """
    Args:
        parameters: a, of the original.
        kept: a*, of the compressed network; a weight that was pruned away is not kept, a rounded one is.
        speedup: s / s*, of measured latencies.

    Returns:
        Null for what is not known. `beta_survey` is the index-space saving as printed, divided by a*, and so is
        alpha - 1; `space_saving` is the usual one, divided by a.
    """
    if not parameters or not kept:
        return Survey(alpha=None, beta_survey=None, space_saving=None, delta=speedup)
    return Survey(
        alpha=parameters / kept,
        beta_survey=(parameters - kept) / kept,
        space_saving=1.0 - kept / parameters,
        delta=speedup,
    )
