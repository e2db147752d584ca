"""Channels: what can be removed for real, and what goes with it.

Every index of every axis gets an identity; identities are pushed through the graph by the rules of the
`rules`. A unit is a class of identities with every (parameter, axis, index) where it occurs. Correct by
one invariant: the network with every occurrence of a unit zeroed in its parameters and the network with the unit
removed give the same outputs.

The idea of grouping dependent parameters: Fang et al. 2023, "DepGraph: Towards Any Structural Pruning",
arXiv:2301.12900. Ours follows single channels rather than whole dimensions, so that concat, flatten and zero-padded
shortcuts need no offsets, and channel shuffles hold nothing together.
"""

from core.network.channels import rules  # noqa: F401  they register themselves
from core.network.channels.sizes import hold_sizes
from core.network.channels.trace import Trace
from core.network.channels.units import Channels
from core.network.network import Network
from core.network.shapes import value_shapes


def analyse(network: Network, *, approximate: bool = False) -> Channels:
    """Find every unit of a network.

    The network is run once to know the shapes. Its parameters are not touched.

    Args:
        approximate: also those over which a normalisation averages. Without such a unit it averages over fewer, so
            that removing it is not the same as zeroing it; they are in `Channels.approximate`.
    """
    trace = Trace(network, value_shapes(network), approximate)
    trace.run()
    hold_sizes(trace)
    return trace.resolved()
