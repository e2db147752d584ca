"""What many families repeat: a convolution with what follows it."""

from typing import Any

from core.zoo.builder import Builder


def conv_relu(net: Builder, x: str, name: str, out: int, kernel: int, **options: Any) -> str:
    """With a bias; `options` are those of `Builder.conv`."""
    return net.relu(net.conv(x, name, out, kernel, bias=True, **options), f"{name}.relu")


def conv_norm(
    net: Builder, x: str, name: str, norm: str, out: int, kernel: int, *, epsilon: float = 1e-5, **options: Any
) -> str:
    """With a batch normalisation called `norm`, and without a bias."""
    return net.norm(net.conv(x, name, out, kernel, **options), norm, epsilon)


def conv_norm_relu(net: Builder, x: str, name: str, norm: str, out: int, kernel: int, **options: Any) -> str:
    return net.relu(conv_norm(net, x, name, norm, out, kernel, **options), f"{norm}.relu")
