"""Networks of convolutions alone, which end in the average of a map for each class."""

from itertools import count

from core.zoo.blocks import conv_relu
from core.zoo.builder import Builder
from core.zoo.scale import Scale

NIN = ((5, 192, (160, 96)), (5, 192, (192, 192)), (3, 192, (192,)))
"""Per stage: kernel and size of its convolution, sizes of the 1 x 1 convolutions behind it."""


def nin(net: Builder, x: str, classes: int, scale: Scale) -> str:
    """Network in Network for CIFAR-10: Lin, Chen and Yan 2014, arXiv:1312.4400, with the layers of the authors' own
    definition: 966,986 parameters (they print none; "1M" in Zagoruyko and Komodakis 2017, arXiv:1612.03928). Names
    as in the torch ports, one sequence called `classifier`. Depth: 1 x 1 convolutions behind each larger one."""
    places = count(0, 2)  # each convolution has its ReLU behind it, each pooling its dropout
    for stage, (kernel, size, inner) in enumerate(NIN):
        for out, side in ((size, kernel), *((out, 1) for out in scale.blocks(inner))):
            x = conv_relu(net, x, f"classifier.{next(places)}", scale.channels(out), side, padding=side // 2)
        if stage == 0:
            x = net.max_pool(x, f"classifier.{next(places)}", 3, padding=1, ceil=False)
        elif stage == 1:
            x = net.average_pool(x, f"classifier.{next(places)}", 3, 2, padding=1)
    return net.average(conv_relu(net, x, f"classifier.{next(places)}", classes, 1), "flatten")


def all_cnn_c(net: Builder, x: str, classes: int, scale: Scale) -> str:
    """All-CNN-C for CIFAR-10: Springenberg et al. 2015, arXiv:1412.6806, table 2: 1,369,738 parameters ("1.4M" in
    its table 3). The 7th convolution is not padded, so that the average goes over 6 x 6. Depth: convolutions before
    each halving, and those after the last."""
    place = count(1)
    for size in (96, 192):
        for out in scale.blocks((size, size)):
            x = conv_relu(net, x, f"conv{next(place)}", scale.channels(out), 3, padding=1)
        x = conv_relu(net, x, f"conv{next(place)}", scale.channels(size), 3, stride=2, padding=1)
    for kernel in scale.blocks((3, 1)):
        x = conv_relu(net, x, f"conv{next(place)}", scale.channels(192), kernel)
    return net.average(conv_relu(net, x, "class_conv", classes, 1), "flatten")
