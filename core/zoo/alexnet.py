"""Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks"."""

from core.zoo.blocks import conv_relu
from core.zoo.builder import Builder
from core.zoo.scale import Scale


def alexnet(net: Builder, x: str, classes: int, scale: Scale) -> str:
    """The paper's network of two towers (groups of 2 in the 2nd, 4th and 5th convolution): 60,965,224 parameters
    ("60 million" there, "61M" in Han et al. 2015). Names, image side (227) and normalisation (k = 1) as in Caffe's
    `bvlc_alexnet`, which is what the compression papers cut. Depth: convolutions after the second pooling."""
    x = conv_relu(net, x, "conv1", scale.channels(96, 2), 11, stride=4)
    x = net.max_pool(net.across_channels(x, "norm1"), "pool1", 3)
    x = conv_relu(net, x, "conv2", scale.channels(256, 2), 5, padding=2, groups=2)
    x = net.max_pool(net.across_channels(x, "norm2"), "pool2", 3)
    for place, (size, groups) in enumerate(scale.blocks(((384, 1), (384, 2), (256, 2))), start=3):
        x = conv_relu(net, x, f"conv{place}", scale.channels(size, 2), 3, padding=1, groups=groups)
    x = net.flatten(net.max_pool(x, "pool5", 3), "flatten")
    for name in ("fc6", "fc7"):
        x = net.relu(net.linear(x, name, scale.channels(4096)), f"{name}.relu")
    return net.linear(x, "fc8", classes)


def alexnet_owt(net: Builder, x: str, classes: int, scale: Scale) -> str:
    """One tower, without local normalisation: Krizhevsky 2014, "One weird trick", arXiv:1404.5997, as torchvision
    has it and names its tensors: 61,100,840 parameters, which is why "61M" alone does not tell the two apart. Depth
    as in `alexnet`."""
    x = conv_relu(net, x, "features.0", scale.channels(64), 11, stride=4, padding=2)
    x = net.max_pool(x, "pool1", 3, ceil=False)
    x = conv_relu(net, x, "features.3", scale.channels(192), 5, padding=2)
    x = net.max_pool(x, "pool2", 3, ceil=False)
    for place, size in enumerate(scale.blocks((384, 256, 256))):
        x = conv_relu(net, x, f"features.{6 + 2 * place}", scale.channels(size), 3, padding=1)
    x = net.flatten(net.max_pool(x, "pool5", 3, ceil=False), "flatten")
    for name in ("classifier.1", "classifier.4"):
        x = net.relu(net.linear(x, name, scale.channels(4096)), f"{name}.relu")
    return net.linear(x, "classifier.6", classes)
