"""From an image to maps of the network, and from maps to scores or labels at any size.

The network answers at a quarter of the resolution. `Maps` keeps these small answers, one per
window (the whole image is one window), and every result is computed from them in bands of rows:
each window is resized bilinearly to its size in pixels, padding is cut off, overlapping windows
are averaged, and the average is resized to the size asked for. Scores and labels come from the
same bands, so that labels are the argmax of the scores to the last bit, and nothing of size
(channels, H, W) exists unless it is the result.

All of this is linear in the maps. Maps of unit activations (K channels) therefore give the same
category scores whether they are weighted before or after the averaging and resizing.

Shapes: B batch, M channels of a map (K properties or N categories), N categories, h x w low
resolution, H x W size of the resized image without padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from prolab_d2.errors import ProLabError
from prolab_d2.modeling.resize import (
    column_phases,
    resize_band,
    resize_columns,
    resize_rows,
    source_range,
)
from prolab_d2.modeling.threads import in_threads, slices

__all__ = [
    "Forward",
    "Maps",
    "Tile",
    "WindowOptions",
    "category_labels",
    "category_score_maps",
    "insert_background",
    "low_resolution_maps",
    "predict_maps",
    "resize_maps",
    "slide",
    "window_grid",
]

Size = tuple[int, int]
Box = tuple[int, int, int, int]
Forward = Callable[[Tensor], Tensor]

# A band of rows takes about this many bytes: it stays in the cache of a CPU, and is large enough
# to keep a GPU busy.
BAND_BYTES = {"cpu": 1 << 22, "default": 1 << 27}
# Categories are weighted and resized in groups of this size: memory does not grow with N.
CATEGORY_GROUP = 512


@dataclass(frozen=True)
class WindowOptions:
    """Sliding windows: size and step (height, width) in pixels of the resized image."""

    crop_size: Size
    stride: Size
    batch_size: int = 4

    def __post_init__(self) -> None:
        for crop, stride in zip(self.crop_size, self.stride, strict=True):
            if not 0 < stride <= crop:
                raise ProLabError(
                    f"TEST.SLIDING_WINDOW.STRIDE is {list(self.stride)} with CROP_SIZE "
                    f"{list(self.crop_size)}: use 0 < stride <= crop, so that the windows cover "
                    "the image"
                )
        if self.batch_size < 1:
            raise ProLabError(f"TEST.SLIDING_WINDOW.BATCH_SIZE is {self.batch_size}: use 1 or more")


def window_grid(size: Size, crop: Size, stride: Size) -> list[Box]:
    """Windows (y1, x1, y2, x2) that cover an image, row by row.

    The last window of an axis is shifted back to end at the border; a side shorter than the crop
    gives one window of that side's length (published implementation, slide inference).
    """
    boxes = []
    for y in _starts(size[0], crop[0], stride[0]):
        for x in _starts(size[1], crop[1], stride[1]):
            boxes.append((y, x, min(y + crop[0], size[0]), min(x + crop[1], size[1])))
    return boxes


def _starts(size: int, crop: int, stride: int) -> list[int]:
    count = max(size - crop + stride - 1, 0) // stride + 1
    return [max(min(i * stride + crop, size) - crop, 0) for i in range(count)]


@dataclass(frozen=True, eq=False)
class Tile:
    """What the network said about one window.

    values: (B, M, h, w), which covers `padded_size` pixels from the upper left corner of `box`;
    box: (y1, x1, y2, x2), the window in the resized image, without padding.
    """

    values: Tensor
    box: Box
    padded_size: Size


@dataclass(frozen=True, eq=False)
class Maps:
    """Low-resolution maps that together cover an image of `image_size` (H, W)."""

    tiles: tuple[Tile, ...]
    image_size: Size

    @property
    def num_channels(self) -> int:
        return self.tiles[0].values.shape[1]

    @cached_property
    def windows_per_pixel(self) -> Tensor:
        """(H, W) float32: how many windows cover each pixel."""
        counts = torch.zeros(self.image_size, device=self.tiles[0].values.device)
        for tile in self.tiles:
            y1, x1, y2, x2 = tile.box
            counts[y1:y2, x1:x2] += 1
        return counts

    def map_values(self, function: Callable[[Tensor], Tensor]) -> Maps:
        """The same maps with `function` applied to the (B, M, h, w) values of every window."""
        tiles = tuple(replace(tile, values=function(tile.values)) for tile in self.tiles)
        return replace(self, tiles=tiles)

    def weighted(self, weights: Tensor) -> Maps:
        """Maps with N channels: `weights` (N, M) times the channels of every pixel."""
        return self.map_values(lambda values: _weighted(values, weights))

    def bands(self, size: Size) -> Iterator[tuple[int, Tensor]]:
        """Yields (first row, (B, M, rows, width)) of the maps resized to `size`, top to bottom."""
        step = self.band_height(size)
        for start in range(0, size[0], step):
            yield start, self.band(size, start, min(start + step, size[0]))

    def band(self, size: Size, start: int, stop: int) -> Tensor:
        """(B, M, stop - start, width): rows of the averaged maps, resized to `size`."""
        rows = self._rows(size, start, stop)
        if len(self.tiles) == 1:
            rows = resize_columns(rows, self.tiles[0].padded_size[1])[..., : self.image_size[1]]
        return resize_columns(rows, size[1])

    def parts_of_band(self, size: Size, start: int, stop: int) -> Iterator[tuple[slice, Tensor]]:
        """`band` in parts that are made faster than the whole, not for training.

        Yields:
            Columns of the band, and their (B, M, stop - start, columns), which the next part may
            overwrite.
        """
        width = self.tiles[0].padded_size[1]
        phases = width % self.tiles[0].values.shape[3] == 0 and size[1] == self.image_size[1]
        if len(self.tiles) > 1 or not phases:
            yield slice(0, size[1]), self.band(size, start, stop)
            return
        for columns, part in column_phases(self._rows(size, start, stop), width):
            # Without the padding.
            count = len(range(*columns.indices(size[1])))
            yield slice(columns.start, size[1], columns.step), part[..., :count]

    def _rows(self, size: Size, start: int, stop: int) -> Tensor:
        """Rows as those of `band`: of one window as narrow as its map, of several resized to the
        width of the image."""
        height = self.image_size[0]
        same = size[0] == height
        first, last = (start, stop) if same else source_range(height, size[0], start, stop)
        if len(self.tiles) > 1:
            return resize_rows(self._averaged(first, last), size[0], start, stop, (first, height))
        # Rows are resized twice while they are still narrow, columns afterwards.
        tile = self.tiles[0]
        rows = resize_rows(tile.values, tile.padded_size[0], first, last)
        return resize_rows(rows, size[0], start, stop, (first, height))

    def _averaged(self, start: int, stop: int) -> Tensor:
        """(B, M, stop - start, W): rows of the image-size maps, averaged over the windows."""
        values = self.tiles[0].values
        shape = (values.shape[0], stop - start, self.image_size[1], self.num_channels)
        total = values.new_zeros(shape).permute(0, 3, 1, 2)
        for tile in self.tiles:
            y1, x1, y2, x2 = tile.box
            first, last = max(start, y1), min(stop, y2)
            if first < last:
                rows = resize_band(tile.values, tile.padded_size, first - y1, last - y1)
                total[:, :, first - start : last - start, x1:x2] += rows[..., : x2 - x1]
        return total.div_(self.windows_per_pixel[start:stop])

    def band_height(self, size: Size) -> int:
        """How many rows of an answer of `size` fit into a band."""
        values = self.tiles[0].values
        width = max(size[1], self.image_size[1], *(tile.padded_size[1] for tile in self.tiles))
        row_bytes = values.shape[0] * self.num_channels * width * values.element_size()
        budget = BAND_BYTES.get(values.device.type, BAND_BYTES["default"])
        height = budget / (row_bytes * max(1.0, self.image_size[0] / size[0]))
        return min(max(int(height), 4), size[0])


def _weighted(values: Tensor, weights: Tensor) -> Tensor:
    """(B, M, h, w) times (N, M) gives (B, N, h, w) in channels-last memory, float32 throughout."""
    batch, _, height, width = values.shape
    pixels = values.permute(0, 2, 3, 1).flatten(1, 2)
    with torch.autocast(values.device.type, enabled=False):
        result = torch.matmul(pixels, weights.t())
    return result.view(batch, height, width, -1).permute(0, 3, 1, 2)


def predict_maps(
    forward: Forward,
    images: Tensor,
    image_size: Size | None = None,
    window: WindowOptions | None = None,
    *,
    size_divisibility: int = 1,
) -> Maps:
    """Runs the network on whole images or on windows of them.

    Args:
        forward: (b, 3, H', W') images to (b, M, h, w) maps that cover these images.
        images: (B, 3, Hp, Wp), normalised; zero-padded at the bottom and right where larger than
            `image_size`.
        image_size: (H, W) of all images without padding; the whole tensor by default.
        window: sliding windows. They are cut from the unpadded images, and windows of equal size
            go through the network together.
        size_divisibility: what the network needs the sides to be a multiple of. Images and windows
            are zero-padded at the bottom and right to it, and the answer to the padding is cut off
            later: nothing is ever squeezed.
    """
    image_size = (images.shape[-2], images.shape[-1]) if image_size is None else tuple(image_size)
    if window is None:
        images = _pad(images, size_divisibility)
        height, width = image_size
        tile = Tile(forward(images).float(), (0, 0, height, width), tuple(images.shape[-2:]))
        return Maps((tile,), image_size)

    boxes = window_grid(image_size, window.crop_size, window.stride)
    batch = images.shape[0]
    per_call = max(window.batch_size // batch, 1)
    tiles: list[Tile] = []
    # All windows of one image have the same size, whatever the sides of the image.
    for start in range(0, len(boxes), per_call):
        group = boxes[start : start + per_call]
        crops = torch.cat([images[:, :, y1:y2, x1:x2] for y1, x1, y2, x2 in group])
        crops = _pad(crops, size_divisibility)
        padded_size = tuple(crops.shape[-2:])
        answers = forward(crops).float().split(batch)
        tiles += [
            Tile(values, box, padded_size) for values, box in zip(answers, group, strict=True)
        ]
    return Maps(tuple(tiles), image_size)


def _pad(images: Tensor, divisor: int) -> Tensor:
    height, width = images.shape[-2:]
    bottom, right = -height % divisor, -width % divisor
    return F.pad(images, (0, right, 0, bottom)) if bottom or right else images


def slide(forward: Forward, images: Tensor, crop: Size, stride: Size, batch_size: int) -> Tensor:
    """(B, M, H, W): maps of sliding windows over `images` (B, 3, H, W), resized and averaged."""
    maps = predict_maps(forward, images, window=WindowOptions(crop, stride, batch_size))
    return resize_maps(maps, maps.image_size)


def resize_maps(maps: Maps, size: Size) -> Tensor:
    """(B, M, *size): the maps at the size of the image, averaged, then resized to `size`."""
    return category_score_maps(maps, size)


def category_score_maps(maps: Maps, size: Size, weights: Tensor | None = None) -> Tensor:
    """Category scores at any size.

    Args:
        maps: scores (M = N), or what `weights` turns into scores.
        size: height and width of the answer, usually of the original image.
        weights: (N, M), for instance `PropertySpace.category_weights` with unit activations.
    Returns:
        (B, N, *size) float32, in channels-last memory.
    """
    count = maps.num_channels if weights is None else weights.shape[0]
    values = maps.tiles[0].values
    scores = values.new_empty((values.shape[0], *size, count)).permute(0, 3, 1, 2)
    for first, group in _category_groups(maps, weights):
        for row, band in group.bands(size):
            scores[:, first : first + band.shape[1], row : row + band.shape[2]] = band
    return scores


def category_labels(maps: Maps, size: Size, weights: Tensor | None = None) -> Tensor:
    """(B, *size) int64: the argmax of `category_score_maps`, computed band by band.

    Ties go to the lower id. Needs memory for the low-resolution maps, one band, and the answer.
    """
    values = maps.tiles[0].values
    several = (maps.num_channels if weights is None else len(weights)) > CATEGORY_GROUP
    # Not filled where every pixel is set: PyTorch's own threads would be woken for that, and go on
    # spinning beside those here.
    make = torch.zeros if several else torch.empty
    labels = make((values.shape[0], *size), dtype=torch.int64, device=values.device)
    best = values.new_full(labels.shape if several else (0,), -torch.inf)
    for first, group in _category_groups(maps, weights):

        def decide(rows: slice, first: int = first, group: Maps = group) -> None:
            for columns, part in group.parts_of_band(size, rows.start, rows.stop):
                label, place = _argmax(part), (slice(None), rows, columns)
                if not several:
                    labels[place] = label
                    continue
                score = part.gather(1, label[:, None])[:, 0]
                better = score > best[place]
                labels[place] = torch.where(better, label + first, labels[place])
                best[place] = torch.where(better, score, best[place])

        # Never a whole band at once, hence twice as high: fewer calls.
        bands = [*slices(size[0], 2 * group.band_height(size))]
        for _ in in_threads(decide, bands, labels.device):
            pass
    return labels


def _argmax(band: Tensor) -> Tensor:
    """(B, M, rows, W) in channels-last memory to (B, rows, W) int64; the first of equal values."""
    if band.device.type == "cpu":
        # NumPy's argmax along contiguous values is several times as fast as torch's.
        return torch.from_numpy(band.detach().permute(0, 2, 3, 1).numpy().argmax(axis=-1))
    return band.argmax(dim=1)


def _category_groups(maps: Maps, weights: Tensor | None) -> Iterator[tuple[int, Maps]]:
    """Yields (id of the first category, maps of a group of categories)."""
    count = maps.num_channels if weights is None else weights.shape[0]
    for first in range(0, count, CATEGORY_GROUP):
        group = slice(first, first + CATEGORY_GROUP)
        if weights is None:
            yield first, maps.map_values(lambda values, group=group: values[:, group])
        else:
            yield first, maps.weighted(weights[group].to(maps.tiles[0].values))


def low_resolution_maps(maps: Maps, stride: int = 4) -> Tensor:
    """(B, M, ceil(H / stride), ceil(W / stride)): maps that cover the image exactly.

    A whole image whose sides are multiples of `stride` gives the values of the network as they
    are, without those of the padding. Else the maps are averaged and resized.
    """
    (height, width), tile = maps.image_size, maps.tiles[0]
    rows, columns = -(-height // stride), -(-width // stride)
    padded = (tile.values.shape[2] * stride, tile.values.shape[3] * stride)
    exact = (rows * stride, columns * stride) == (height, width) and padded == tile.padded_size
    if len(maps.tiles) == 1 and exact:
        return tile.values[:, :, :rows, :columns]
    return resize_maps(maps, (rows, columns))


def insert_background(probabilities: Tensor, threshold: float = 0.107) -> Tensor:
    """Puts a background channel in front: `threshold` minus the largest probability.

    The published rule for the 21 labels of Pascal VOC with a model of 20 categories: background
    wins where no probability reaches half the threshold; category c becomes c + 1.

    Args:
        probabilities: (B, N, H, W), softmax over N.
    Returns:
        (B, N + 1, H, W).
    """
    background = threshold - probabilities.amax(dim=1, keepdim=True)
    return torch.cat([background, probabilities], dim=1)
