"""From raw values to the model's input: vectorised, a batch at a time, so that what lies on disk stays raw."""

import numpy as np
import torch

from modelpress.data import Preparation
from modelpress.problem import DataMismatch

TRANSPOSE = {"hwc_to_chw": (0, 3, 1, 2), "chw_to_hwc": (0, 2, 3, 1)}
CHANNEL_AXIS = {"hwc_to_chw": -1, "chw_to_hwc": 1}


def prepare(batch: np.ndarray, how: Preparation, dtype: np.dtype) -> np.ndarray:
    """Resize, scale, subtract the mean, divide by the deviation, change the layout, cast.

    Args:
        batch: (samples, *raw shape).
        dtype: the type of the input where `how` names none.

    Returns:
        (samples, *input shape), contiguous.

    Raises:
        DataMismatch: the layout, mean, std or resize don't fit the shape.
    """
    if how.resize is not None and batch.shape[1:3] != tuple(how.resize):
        batch = resized(batch, how)
    if how.scale is not None or how.mean or how.std:
        batch = batch.astype(np.float64 if batch.dtype == np.float64 else np.float32)  # a copy: the raw values stay
        batch *= 1.0 if how.scale is None else how.scale
        if how.mean:
            batch -= per_channel(how.mean, batch, how.layout)
        if how.std:
            batch /= per_channel(how.std, batch, how.layout)
    return np.ascontiguousarray(laid_out(batch, how.layout), np.dtype(how.dtype) if how.dtype else dtype)


def prepared_shape(shape: tuple[int, ...], how: Preparation) -> tuple[int, ...]:
    """What `prepare` makes of the shape of one raw sample. Raises DataMismatch."""
    empty = np.zeros((1, *shape), np.uint8)
    return prepare(empty, how, np.dtype(np.float32)).shape[1:]


def laid_out(batch: np.ndarray, layout: str) -> np.ndarray:
    if layout == "hw_to_chw" and batch.ndim == 3:
        return batch[:, None]
    if layout in TRANSPOSE and batch.ndim == 4:
        return batch.transpose(TRANSPOSE[layout])
    if layout == "hwc_to_chw" and batch.ndim == 3:
        return batch[:, None]  # grey images have no axis of channels
    if layout == "as_is":
        return batch
    raise DataMismatch(f"layout {layout} does not fit samples of shape {batch.shape[1:]}")


def per_channel(values: list[float], batch: np.ndarray, layout: str) -> np.ndarray:
    """`values` shaped to broadcast along the axis of channels of `batch`.

    With layout `as_is` that is the axis after the samples if its size fits, else the last one.
    """
    if len(values) == 1:
        return np.asarray(values, batch.dtype)
    axis = CHANNEL_AXIS.get(layout) or (1 if batch.ndim > 1 and batch.shape[1] == len(values) else -1)
    if batch.ndim < 2 or batch.shape[axis] != len(values):
        raise DataMismatch(
            f"{len(values)} values of mean or std do not fit samples of shape {batch.shape[1:]} with layout {layout}",
            hint="Give one value, or one a channel.",
        )
    shape = [1] * batch.ndim
    shape[axis] = len(values)
    return np.asarray(values, batch.dtype).reshape(shape)


def resized(batch: np.ndarray, how: Preparation) -> np.ndarray:
    """Images brought to `how.resize`, bilinear and antialiased as Pillow does it.

    Args:
        batch: (samples, H, W), (samples, H, W, C), or (samples, C, H, W) where the layout says so.
    """
    if batch.ndim not in (3, 4):
        raise DataMismatch(f"`resize` is for images; the samples have shape {batch.shape[1:]}")
    height, width = how.resize or batch.shape[1:3]
    channels_first = batch.ndim == 4 and (how.layout == "chw_to_hwc" or is_channels_first(batch, how))
    if batch.ndim == 3:
        images = batch[:, None]
    else:
        images = batch if channels_first else batch.transpose(0, 3, 1, 2)
    tensor = torch.from_numpy(np.ascontiguousarray(images, np.float32))
    out = torch.nn.functional.interpolate(tensor, (height, width), mode="bilinear", antialias=True).numpy()
    if np.issubdtype(batch.dtype, np.integer):
        bounds = np.iinfo(batch.dtype)
        out = np.clip(np.rint(out), bounds.min, bounds.max).astype(batch.dtype)
    if batch.ndim == 3:
        return out[:, 0]
    return out if channels_first else out.transpose(0, 2, 3, 1)


def is_channels_first(batch: np.ndarray, how: Preparation) -> bool:
    """With layout `as_is` the smaller of the two candidate axes is taken to be the channels."""
    return how.layout == "as_is" and batch.shape[1] < batch.shape[3]
