"""torchvision's own operators where its binary does not load: their names, and plain forms that can be traced.

Only the traced graph matters: it holds ONNX's RoiAlign and NonMaxSuppression, whatever is computed here.
"""

import torch
from torch import Tensor

LIBRARY = torch.library.Library("torchvision", "DEF")
LIBRARY.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
LIBRARY.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
LIBRARY.define(
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor"
)


def suppress(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """All boxes by falling score."""
    return scores.argsort(descending=True)


def align(x: Tensor, rois: Tensor, scale: float, height: int, width: int, ratio: int, aligned: bool) -> Tensor:
    """A pooled map of its region's image, whatever the region."""
    return torch.nn.functional.adaptive_avg_pool2d(x, (height, width))[rois[:, 0].long()]


LIBRARY.impl("nms", suppress, "CPU")
LIBRARY.impl("roi_align", align, "CPU")
