"""Simonyan and Zisserman 2015, "Very deep convolutional networks", arXiv:1409.1556, table 1, D (16) and E (19).

Depth: convolutions of each of the five stages.
"""

from itertools import count

from core.zoo.blocks import conv_norm_relu, conv_relu
from core.zoo.builder import Builder
from core.zoo.scale import Scale

Stages = tuple[tuple[int, ...], ...]

VGG16: Stages = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)
VGG19: Stages = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)


def vgg(net: Builder, x: str, classes: int, scale: Scale, *, stages: Stages) -> str:
    """For ImageNet: 138,357,544 (16) and 143,667,240 (19) parameters ("138" and "144" million in table 2). Names as
    in torchvision."""
    places = count()
    for stage in stages:
        for size in scale.blocks(stage):
            x = conv_relu(net, x, f"features.{next(places)}", scale.channels(size), 3, padding=1)
            next(places)  # the ReLU
        x = net.max_pool(x, f"features.{next(places)}", ceil=False)
    x = net.flatten(x, "flatten")
    for name in ("classifier.0", "classifier.3"):
        x = net.relu(net.linear(x, name, scale.channels(4096)), f"{name}.relu")
    return net.linear(x, "classifier.6", classes)


def vgg16_bn(net: Builder, x: str, classes: int, scale: Scale) -> str:
    """For CIFAR as Li et al. 2017 have it, arXiv:1608.08710: batch normalisation after each convolution and a head of
    one hidden layer of 512: 14,987,722 parameters ("1.5e7" there)."""
    for stage, sizes in enumerate(VGG16, start=1):
        for place, size in enumerate(scale.blocks(sizes), start=1):
            name = f"block{stage}.{place}"
            x = conv_norm_relu(net, x, f"{name}.conv", f"{name}.bn", scale.channels(size), 3, padding=1)
        x = net.max_pool(x, f"block{stage}.pool")
    x = net.linear(net.flatten(x, "flatten"), "fc1", scale.channels(512))
    return net.linear(net.relu(net.norm(x, "fc1_bn"), "fc1_relu"), "fc2", classes)


def vgg19_bn(net: Builder, x: str, classes: int, scale: Scale) -> str:
    """For CIFAR as Liu et al. 2017 (network slimming) have it, arXiv:1708.06519: batch normalisation after each
    convolution, one linear layer behind the average: 20,035,018 parameters ("20.04M" there). Names as in the authors'
    torch code."""
    places = count()
    for stage, sizes in enumerate(VGG19, start=1):
        for size in scale.blocks(sizes):
            name, norm = f"feature.{next(places)}", f"feature.{next(places)}"
            x = conv_norm_relu(net, x, name, norm, scale.channels(size), 3, padding=1)
            next(places)  # the ReLU
        if stage < len(VGG19):
            x = net.max_pool(x, f"feature.{next(places)}")
    return net.linear(net.average(x, "flatten"), "classifier", classes)
