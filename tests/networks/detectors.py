"""Detectors: pyramids of features and several outputs."""

import torch
from torch import Tensor, nn

from tests.networks.blocks import ConvNorm
from tests.networks.example import images, seeded


class PyramidDetector(nn.Module):
    """A feature pyramid whose head is shared by its levels, as RetinaNet's is; a dict of outputs."""

    def __init__(self, classes: int = 3, anchors: int = 2) -> None:
        super().__init__()
        self.classes = classes
        self.c2, self.c3, self.c4 = ConvNorm(3, 8, 3, 2), ConvNorm(8, 12, 3, 2), ConvNorm(12, 16, 3, 2)
        self.lateral = nn.ModuleList(nn.Conv2d(width, 8, 1) for width in (8, 12, 16))
        self.smooth = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))
        self.tower = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())
        self.score = nn.Conv2d(8, anchors * classes, 3, padding=1)
        self.box = nn.Conv2d(8, anchors * 4, 3, padding=1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        c2 = self.c2(image)
        c3 = self.c3(c2)
        p4 = self.lateral[2](c4 := self.c4(c3))
        p3 = self.lateral[1](c3) + nn.functional.interpolate(p4, size=c3.shape[-2:], mode="nearest")
        p2 = self.lateral[0](c2) + nn.functional.interpolate(p3, size=c2.shape[-2:], mode="nearest")
        levels = [self.tower(smooth(level)) for smooth, level in zip(self.smooth, (p2, p3, p4), strict=True)]
        scores = [self.rows(self.score(level), self.classes) for level in levels]
        boxes = [self.rows(self.box(level), 4) for level in levels]
        return {"scores": torch.cat(scores, 1), "boxes": torch.cat(boxes, 1), "features": c4}

    @staticmethod
    def rows(x: Tensor, columns: int) -> Tensor:
        """(batch, anchors * columns, h, w) to (batch, h * w * anchors, columns)."""
        batch, _, height, width = x.shape
        x = x.view(batch, -1, columns, height, width)
        return x.permute(0, 3, 4, 1, 2).reshape(batch, -1, columns)


class SSD(nn.Module):
    """Two heads on each of two levels; box coordinates and softmaxed classes, as a tuple."""

    def __init__(self, classes: int = 4, anchors: int = 3) -> None:
        super().__init__()
        self.classes = classes
        self.level1 = nn.Sequential(ConvNorm(3, 8, 3, 2), ConvNorm(8, 12, 3, 2))
        self.level2 = nn.Sequential(ConvNorm(12, 8, 1), ConvNorm(8, 16, 3, 2))
        self.loc = nn.ModuleList(nn.Conv2d(width, anchors * 4, 3, padding=1) for width in (12, 16))
        self.conf = nn.ModuleList(nn.Conv2d(width, anchors * classes, 3, padding=1) for width in (12, 16))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = self.level1(x)
        levels = (first, self.level2(first))
        loc = [head(level).permute(0, 2, 3, 1).contiguous() for head, level in zip(self.loc, levels, strict=True)]
        conf = [head(level).permute(0, 2, 3, 1).contiguous() for head, level in zip(self.conf, levels, strict=True)]
        boxes = torch.cat([o.view(o.size(0), -1) for o in loc], 1)
        scores = torch.cat([o.view(o.size(0), -1) for o in conf], 1)
        return boxes.view(boxes.size(0), -1, 4), scores.view(scores.size(0), -1, self.classes).softmax(-1)


class C2f(nn.Module):
    """YOLOv8's stage: a split, a chain of bottlenecks, everything concatenated."""

    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        self.hidden = outputs // 2
        self.cv1 = ConvNorm(inputs, 2 * self.hidden, 1, activation=nn.SiLU)
        self.cv2 = ConvNorm((2 + depth) * self.hidden, outputs, 1, activation=nn.SiLU)
        self.m = nn.ModuleList(
            nn.Sequential(*(ConvNorm(self.hidden, self.hidden, activation=nn.SiLU) for _ in range(2)))
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).split((self.hidden, self.hidden), 1))
        for bottleneck in self.m:
            y.append(y[-1] + bottleneck(y[-1]))
        return self.cv2(torch.cat(y, 1))


class SPPF(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = ConvNorm(width, width // 2, 1), ConvNorm(2 * width, width, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv1(x)]
        y.extend(self.pool(y[-1]) for _ in range(3))
        return self.cv2(torch.cat(y, 1))


class YOLO(nn.Module):
    """C2f, SPPF, one way up, and YOLOv8's head: distances as an expectation over bins, decoded to boxes."""

    def __init__(self, classes: int = 3, bins: int = 4) -> None:
        super().__init__()
        self.bins, self.classes = bins, classes
        self.stem = ConvNorm(3, 8, 3, 2, activation=nn.SiLU)
        self.stage1 = nn.Sequential(ConvNorm(8, 12, 3, 2, activation=nn.SiLU), C2f(12, 12, 2))
        self.stage2 = nn.Sequential(ConvNorm(12, 16, 3, 2, activation=nn.SiLU), C2f(16, 16, 1), SPPF(16))
        self.up, self.neck = nn.Upsample(scale_factor=2, mode="nearest"), C2f(28, 12, 1)
        self.heads = nn.ModuleList(nn.Conv2d(width, 4 * bins + classes, 1) for width in (12, 16))
        self.register_buffer("steps", torch.arange(bins, dtype=torch.float))
        self.steps: Tensor

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        small = self.stage1(self.stem(images))
        large = self.stage2(small)
        levels = (self.neck(torch.cat([self.up(large), small], 1)), large)
        raw = [head(level) for head, level in zip(self.heads, levels, strict=True)]
        flat = torch.cat([x.view(x.shape[0], 4 * self.bins + self.classes, -1) for x in raw], 2)
        box, scores = flat.split((4 * self.bins, self.classes), 1)
        batch, _, anchors = box.shape
        spread = box.view(batch, 4, self.bins, anchors).transpose(2, 1).softmax(1)
        distance = (spread * self.steps.view(1, self.bins, 1, 1)).sum(1)  # (batch, 4, anchors)
        top_left, bottom_right = distance.chunk(2, 1)
        boxes = torch.cat(((bottom_right - top_left) / 2, bottom_right + top_left), 1)
        return torch.cat((boxes, scores.sigmoid()), 1), raw


@seeded
def retinanet():
    return PyramidDetector(), {"image": images()}


@seeded
def ssd():
    return SSD(), {"x": images()}


@seeded
def yolo():
    return YOLO(), {"images": images()}
