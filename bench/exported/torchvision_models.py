"""torchvision: image classification, segmentation, detection, video."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.exported import torchvision_operators  # noqa: F401  before torchvision itself
from bench.exported.subject import Made, Subject

import torchvision  # isort: skip
from torchvision import models  # isort: skip
from torchvision.models import detection, segmentation, video  # isort: skip

CLASSES = 20


def has_operators() -> bool:
    return True


sys.modules["torchvision.ops.roi_align"]._has_ops = torchvision.extension._has_ops = has_operators


class First(nn.Module):
    """The one output that is worth something, of a network that gives a dictionary."""

    def __init__(self, module: nn.Module, key: str) -> None:
        super().__init__()
        self.module, self.key = module, key

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)[self.key]


class Detector(nn.Module):
    """Boxes, labels and scores of one image."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        found = self.module([x])[0]
        return tuple(found[key] for key in ("boxes", "scores", *(["masks"] if "masks" in found else [])))


class Flow(nn.Module):
    """The last estimate of optical flow."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.module(first, second, num_flow_updates=2)[-1]


def classifier(name: str, size: int, **settings: Any) -> Made:
    return models.get_model(name, weights=None, num_classes=100, **settings), {"x": torch.randn(1, 3, size, size)}


def segmenter(name: str, size: int) -> Made:
    settings: dict[str, Any] = {} if name.startswith("lraspp") else {"aux_loss": False}
    make = getattr(segmentation, name)
    module = make(weights=None, weights_backbone=None, num_classes=CLASSES, **settings)
    return First(module, "out"), {"x": torch.randn(1, 3, size, size)}


def detector(name: str, size: int, **settings: Any) -> Made:
    make = getattr(detection, name)
    module = make(weights=None, weights_backbone=None, num_classes=CLASSES, **settings)
    return Detector(module), {"x": torch.rand(3, size, size)}


def film(name: str, frames: int, size: int) -> Made:
    return getattr(video, name)(weights=None, num_classes=CLASSES), {"x": torch.randn(1, 3, frames, size, size)}


def flow() -> Made:
    module = models.optical_flow.raft_small(weights=None)
    return Flow(module), {"first": torch.randn(1, 3, 128, 128), "second": torch.randn(1, 3, 128, 128)}


def fixed(make: Callable[..., Made], *arguments: Any, **settings: Any) -> Subject:
    return Subject(partial(make, *arguments, **settings), is_dynamic=False)


CLASSIFIERS = {
    "alexnet": 224, "vgg11": 224, "resnet18": 64, "resnet50": 64, "resnext50_32x4d": 64,
    "densenet121": 64, "squeezenet1_0": 64, "squeezenet1_1": 64, "mobilenet_v2": 64,
    "mobilenet_v3_small": 64, "mobilenet_v3_large": 64, "mnasnet0_5": 64, "shufflenet_v2_x0_5": 64,
    "shufflenet_v2_x1_0": 64, "efficientnet_b0": 64, "efficientnet_v2_s": 64, "regnet_x_400mf": 64,
    "regnet_y_400mf": 64, "convnext_tiny": 64, "swin_t": 224, "swin_v2_t": 256, "vit_b_32": 224, "maxvit_t": 224,
}  # fmt: skip

SUBJECTS: dict[str, Subject] = {
    **{f"tv-{name}": Subject(partial(classifier, name, size)) for name, size in CLASSIFIERS.items()},
    "tv-googlenet": Subject(partial(classifier, "googlenet", 64, init_weights=False, aux_logits=False)),
    "tv-inception_v3": Subject(partial(classifier, "inception_v3", 96, init_weights=False, aux_logits=False)),
    "tv-fcn_resnet50": Subject(partial(segmenter, "fcn_resnet50", 64)),
    "tv-deeplabv3_resnet50": Subject(partial(segmenter, "deeplabv3_resnet50", 64)),
    "tv-deeplabv3_mobilenet_v3_large": Subject(partial(segmenter, "deeplabv3_mobilenet_v3_large", 64)),
    "tv-lraspp_mobilenet_v3_large": Subject(partial(segmenter, "lraspp_mobilenet_v3_large", 64)),
    "tv-fasterrcnn_mobilenet_v3": fixed(
        detector, "fasterrcnn_mobilenet_v3_large_320_fpn", 128, min_size=128, max_size=160, box_score_thresh=0.0,
        box_detections_per_img=20, rpn_post_nms_top_n_test=50,
    ),
    "tv-maskrcnn_resnet50": fixed(
        detector, "maskrcnn_resnet50_fpn", 128, min_size=128, max_size=160, box_score_thresh=0.0,
        box_detections_per_img=20, rpn_post_nms_top_n_test=50,
    ),
    "tv-retinanet_resnet50": fixed(
        detector, "retinanet_resnet50_fpn", 128, min_size=128, max_size=160, score_thresh=0.0, detections_per_img=20,
    ),
    "tv-fcos_resnet50": fixed(
        detector, "fcos_resnet50_fpn", 128, min_size=128, max_size=160, score_thresh=0.0, detections_per_img=20,
    ),
    "tv-ssdlite320_mobilenet_v3": fixed(
        detector, "ssdlite320_mobilenet_v3_large", 320, score_thresh=0.0, detections_per_img=20,
    ),
    "tv-ssd300_vgg16": fixed(detector, "ssd300_vgg16", 300, score_thresh=0.0, detections_per_img=20),
    "tv-r3d_18": Subject(partial(film, "r3d_18", 8, 32)),
    "tv-r2plus1d_18": Subject(partial(film, "r2plus1d_18", 8, 32)),
    "tv-s3d": Subject(partial(film, "s3d", 16, 224)),
    "tv-mvit_v2_s": fixed(film, "mvit_v2_s", 16, 224),
    "tv-swin3d_t": fixed(film, "swin3d_t", 8, 64),
    "tv-raft_small": fixed(flow),
}  # fmt: skip
