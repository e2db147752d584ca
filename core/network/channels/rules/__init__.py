"""How identities pass each operator; importing this registers them all."""

from core.network.channels.rules import (  # noqa: F401
    arithmetic,
    attention,
    grid,
    layers,
    moves,
    padding,
    patches,
    picking,
    places,
    recurrent,
    reductions,
    resize,
    shapes,
    signals,
)
