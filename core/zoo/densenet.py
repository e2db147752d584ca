"""Huang, Liu, van der Maaten and Weinberger 2017, "Densely connected convolutional networks", arXiv:1608.06993."""

from core.zoo.builder import Builder
from core.zoo.scale import Scale

BLOCKS = 3
GROWTH = 12


def densenet(net: Builder, x: str, classes: int, scale: Scale, *, layers: int, bottleneck: bool = False) -> str:
    """For CIFAR, growth 12: DenseNet with 40 layers 1,019,722 parameters ("1.0M" in table 2), DenseNet-BC with 100
    layers, bottlenecks and half the channels kept between blocks, 769,162 ("0.8M"). Names as in torchvision and in
    the authors' torch code. Width: of the first layer and the growth. Depth: layers of each of the three blocks."""
    growth = scale.channels(GROWTH)
    steps = (layers - 4) // (6 if bottleneck else 3)
    x = net.conv(x, "features.conv0", 2 * growth if bottleneck else scale.channels(16), 3, padding=1)
    for block in range(1, BLOCKS + 1):
        for layer, size in enumerate(scale.blocks((growth,) * steps), start=1):
            name = f"features.denseblock{block}.denselayer{layer}"
            x = net.concat([x, _layer(net, x, name, size, bottleneck)], f"{name}.concat")
        if block < BLOCKS:
            kept = net.shapes[x][0] // 2 if bottleneck else net.shapes[x][0]
            x = _before(net, x, f"features.transition{block}.norm", f"features.transition{block}.conv", kept, 1)
            x = net.average_pool(x, f"features.transition{block}.pool", 2, 2)
    x = net.relu(net.norm(x, "features.norm_final"), "relu")
    return net.linear(net.average(x, "flatten"), "classifier", classes)


def _layer(net: Builder, x: str, name: str, growth: int, bottleneck: bool) -> str:
    if not bottleneck:
        return _before(net, x, f"{name}.norm1", f"{name}.conv1", growth, 3)
    x = _before(net, x, f"{name}.norm1", f"{name}.conv1", 4 * growth, 1)
    return _before(net, x, f"{name}.norm2", f"{name}.conv2", growth, 3)


def _before(net: Builder, x: str, norm: str, name: str, out: int, kernel: int) -> str:
    """Normalisation and ReLU before the convolution."""
    return net.conv(net.relu(net.norm(x, norm), f"{norm}.relu"), name, out, kernel, padding=kernel // 2)
