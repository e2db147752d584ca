"""The zoo: the networks that the survey and the papers it covers compress, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from core.zoo.alexnet import alexnet, alexnet_owt
from core.zoo.builder import Builder
from core.zoo.convolutional import all_cnn_c, nin
from core.zoo.densenet import densenet
from core.zoo.googlenet import googlenet
from core.zoo.lenet import lenet_5, lenet_300_100
from core.zoo.mobilenet import mobilenet_v1, mobilenet_v2
from core.zoo.resnet import cifar_resnet, resnet
from core.zoo.scale import Scale
from core.zoo.squeezenet import squeezenet
from core.zoo.vgg import VGG16, VGG19, vgg, vgg16_bn, vgg19_bn
from core.zoo.wide_resnet import wide_resnet

MNIST, CIFAR, IMAGENET = (1, 28, 28), (3, 32, 32), (3, 224, 224)


@dataclass(frozen=True)
class Architecture:
    """A network as a function of the builder, its input's value, the classes and the scale, that returns the value of
    the logits; with the sample and the classes of its paper, and the paper."""

    write: Callable[[Builder, str, int, Scale], str]
    sample_shape: tuple[int, ...]
    classes: int
    paper: str
    spare: tuple[str, ...] = ()
    """What the names of tensors begin with that checkpoints hold and inference does without."""

    @property
    def takes_any_shape(self) -> bool:
        """Whether it flattens its input first."""
        return self.write is lenet_300_100


ARCHITECTURES: dict[str, Architecture] = {
    "lenet_300_100": Architecture(lenet_300_100, MNIST, 10, "LeCun et al. 1998"),
    "lenet_5": Architecture(lenet_5, MNIST, 10, "LeCun et al. 1998, Caffe's"),
    "alexnet": Architecture(alexnet, (3, 227, 227), 1000, "Krizhevsky et al. 2012, Caffe's"),
    "alexnet_owt": Architecture(alexnet_owt, IMAGENET, 1000, "Krizhevsky 2014, torchvision's"),
    "nin": Architecture(nin, CIFAR, 10, "Lin et al. 2014"),
    "all_cnn_c": Architecture(all_cnn_c, CIFAR, 10, "Springenberg et al. 2015"),
    "vgg16": Architecture(partial(vgg, stages=VGG16), IMAGENET, 1000, "Simonyan and Zisserman 2015"),
    "vgg19": Architecture(partial(vgg, stages=VGG19), IMAGENET, 1000, "Simonyan and Zisserman 2015"),
    "vgg16_bn": Architecture(vgg16_bn, CIFAR, 10, "Simonyan and Zisserman 2015, as in Li et al. 2017"),
    "vgg19_bn": Architecture(vgg19_bn, CIFAR, 10, "Simonyan and Zisserman 2015, as in Liu et al. 2017"),
    **{
        f"resnet{layers}": Architecture(
            partial(resnet, blocks=blocks, bottleneck=layers >= 50), IMAGENET, 1000, "He et al. 2016"
        )
        for layers, blocks in ((18, (2, 2, 2, 2)), (34, (3, 4, 6, 3)), (50, (3, 4, 6, 3)), (101, (3, 4, 23, 3)))
    },
    **{
        f"resnet{layers}": Architecture(partial(cifar_resnet, layers=layers), CIFAR, 10, "He et al. 2016, option A")
        for layers in (20, 32, 44, 56, 110)
    },
    **{
        f"wrn_{layers}_{widen}": Architecture(
            partial(wide_resnet, layers=layers, widen=widen), CIFAR, 10, "Zagoruyko and Komodakis 2016"
        )
        for layers, widen in ((16, 1), (16, 2), (16, 4), (16, 8), (22, 8), (28, 10), (40, 1), (40, 2), (40, 4))
    },
    "densenet40": Architecture(partial(densenet, layers=40), CIFAR, 10, "Huang et al. 2017, growth 12"),
    "densenet_bc_100": Architecture(
        partial(densenet, layers=100, bottleneck=True), CIFAR, 10, "Huang et al. 2017, growth 12"
    ),
    "googlenet": Architecture(googlenet, IMAGENET, 1000, "Szegedy et al. 2015", ("aux1.", "aux2.")),
    "googlenet_bn": Architecture(
        partial(googlenet, batch_norm=True), IMAGENET, 1000, "Szegedy et al. 2015, torchvision's", ("aux1.", "aux2.")
    ),
    "squeezenet1_0": Architecture(partial(squeezenet, version="1_0"), IMAGENET, 1000, "Iandola et al. 2016"),
    "squeezenet1_1": Architecture(partial(squeezenet, version="1_1"), IMAGENET, 1000, "Iandola et al. 2016, later"),
    "mobilenet_v1": Architecture(mobilenet_v1, IMAGENET, 1000, "Howard et al. 2017"),
    "mobilenet_v2": Architecture(mobilenet_v2, IMAGENET, 1000, "Sandler et al. 2018"),
}
