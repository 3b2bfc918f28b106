"""Layouts of tensors in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from codegen.passes.moves import row_major
from codegen.plan.dtype import FLOAT32, DType

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Strides, in elements, of a tensor's axes (batch, channels, space).

    With ``block`` > 1 (NCHWc) channels lie in blocks of that many neighbours, the last one filled up, and the stride of
    axis 1 is between blocks.  ``broadcast``: the channel axis has one element, read for every channel.
    """

    shape: Shape
    strides: tuple[int, ...]
    block: int = 1
    broadcast: bool = False
    dtype: DType = FLOAT32

    @property
    def blocks(self) -> int:
        """Channel blocks, the last one perhaps partial."""
        return -(-self.shape[1] // self.block)

    @property
    def span(self) -> int:
        """Elements from the first to the end of the last, padding lanes included."""
        counts = list(self.shape)
        if self.block > 1:
            counts[1] = self.blocks
        return 1 + sum((n - 1) * s for n, s in zip(counts, self.strides, strict=True)) + self.block - 1

    @property
    def bytes(self) -> int:
        """Size of the span in bytes."""
        return self.span * self.dtype.bytes

    @property
    def contiguous(self) -> bool:
        """True if the elements lie in row-major order without gaps."""
        return self.block == 1 and self.strides == row_major(self.shape)

    def offsets(self) -> NDArray[np.int64]:
        """The offset of each element: an array of the tensor's shape."""
        total = np.zeros(self.shape, dtype=np.int64)
        for axis, (n, stride) in enumerate(zip(self.shape, self.strides, strict=True)):
            index = np.arange(n)
            if axis == 1 and self.block > 1:
                steps = index // self.block * stride + index % self.block
            else:
                steps = index * stride
            total += steps.reshape((-1,) + (1,) * (len(self.shape) - 1 - axis))
        return total

    def canonical(self) -> Layout:
        """The same memory as four axes [N, C, H, W]; axes between the second and the last become one.

        Depth and height of a tensor that is repeated along one of them only stay apart, as five axes.
        """
        shape, strides = list(self.shape), list(self.strides)
        while len(shape) < 2:
            shape.append(1)
            strides.append(0)
        if len(shape) == 2:
            shape += [1, 1]
            strides += [0, 0]
        elif len(shape) == 3:
            shape.insert(2, 1)
            strides.insert(2, 0)
        while len(shape) > 4:
            if strides[2] != strides[3] * shape[3] and 1 not in shape[2:4]:
                assert len(shape) == 5, "only contiguous axes merge"
                break
            merged = strides[2] if shape[3] == 1 else strides[3]
            shape[2:4] = [shape[2] * shape[3]]
            strides[2:4] = [merged]
        return replace(self, shape=tuple(shape), strides=tuple(strides))

    def repeated(self, shape: Shape) -> Layout:
        """This tensor read as one of a larger shape: axes of one element are repeated."""
        strides = tuple(
            0 if m == 1 and n != 1 else stride for m, n, stride in zip(self.shape, shape, self.strides, strict=True)
        )
        broadcast = self.broadcast or (len(shape) > 1 and self.shape[1] == 1 < shape[1])
        return replace(self, shape=shape, strides=strides, broadcast=broadcast)

    def merged_rows(self) -> Layout | None:
        """[N, C, 1, H*W] over the same memory, if the rows of this canonical layout follow each other."""
        n, c, h, w = self.shape
        sn, sc, sh, sw = self.strides
        if h > 1 and sh != w * sw:
            return None
        return replace(self, shape=(n, c, 1, h * w), strides=(sn, sc, 0, sw if w > 1 else sh))


@dataclass(frozen=True)
class Named:
    """A blocked layout as a kernel sees it that serves tensors of many sizes: its strides are parameters, by name.

    ``shape`` is the batch only; strides of 0 and between pixels are numbers still, as they decide what a kernel does.
    """

    shape: tuple[int]
    strides: tuple[int | str, ...]
    block: int
    broadcast: bool = False


def plain(shape: Shape, dtype: DType = FLOAT32) -> Layout:
    """Row-major order."""
    return Layout(shape, row_major(shape), dtype=dtype)


def channels_last(shape: Shape, dtype: DType = FLOAT32) -> Layout:
    """The order of the user's NHWC array, for a tensor of NCHW ``shape``."""
    moved = row_major((shape[0], *shape[2:], shape[1]))
    return Layout(shape, (moved[0], moved[-1], *moved[1:-1]), dtype=dtype)


def blocked(shape: Shape, lanes: int, dtype: DType = FLOAT32) -> Layout:
    """NCHWc with c = ``lanes``."""
    blocks = -(-shape[1] // lanes)
    strides = tuple(s * lanes for s in row_major((shape[0], blocks, *shape[2:])))
    return Layout(shape, strides, lanes, dtype=dtype)


def up(value: int, multiple: int) -> int:
    """The least multiple that is not below the value."""
    return -(-value // multiple) * multiple
