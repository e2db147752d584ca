"""Weight sharing: the weights of a layer take few values, found by k-means.

Han, Mao, Dally 2016, "Deep Compression", arXiv:1510.00149, section 3. What pruning dropped stays zero and takes no
part in the sharing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.formulas import Codebook, Formula, Masked
from core.techniques.distinct import chosen_layers, distinct, left_alone, names_of
from core.techniques.registry import technique
from modelpress import steps

if TYPE_CHECKING:
    from core.context import Context
    from core.network.network import Network


@technique(steps.CodebookSharing)
def share_by_codebook(network: Network, step: steps.CodebookSharing, ctx: Context) -> None:
    layers = distinct(chosen_layers(network, step))
    for place, layer in enumerate(layers):
        if layer.weight.numel() > 2**step.bits:  # else the table would be as large as the weight
            layer.reparametrise(shared(layer.formula, step.bits, step.iterations))
        ctx.progress((place + 1) / len(layers) * (0.5 if step.epochs else 1.0), layer.name)
    done = [layer for layer in layers if layer.weight.numel() > 2**step.bits]
    ctx.note(f"{2**step.bits} values a layer ({step.bits} bits): {names_of(done)}; {left_alone(network, layers)}")
    if small := [layer for layer in layers if layer not in done]:
        ctx.note(f"left alone, since their tables would be as large as they are: {names_of(small)}")
    if step.epochs > 0:
        ctx.fit(network, epochs=step.epochs)


def shared(formula: Formula | None, bits: int, iterations: int) -> Formula:
    """A codebook in the place of a weight's formula, under the mask if it has one."""
    codebook = Codebook(bits, iterations)
    return Masked(formula.mask, codebook) if isinstance(formula, Masked) else codebook
