"""Memory for a cache's keys or values. On a CPU it is taken by the system page by page as it is written to.

So room for the longest question that there could ever be is asked for at once and costs nothing: what is taken is what
slots hold, nothing is moved when they grow, and what a slot held goes back when it is given away. Where a system does
not lend addresses so freely, and on a GPU, all that is asked for is taken at once, and growing means moving.

A layer's part of a row lies position after position, each with all its heads: what a step adds is one piece, and so is
what an agent leaves behind, which travels as it lies.

Shapes: L layers, R rows, N key/value heads, C columns (capacity), H head size.
"""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress
from math import gcd, prod

import torch

NORESERVE = 0x4000 if sys.platform == "linux" else 0
"""Linux's MAP_NORESERVE, which Python's module has no name for before 3.13: addresses alone, no claim to memory.

Elsewhere the number means something else, and what is given back is not zeros when it is taken again."""


class Backing:
    """Zeros for some rows, as many as asked for or more.

    Attributes:
        data_LRNCH: All of it.
        lazy: Whether memory is taken only as it is written to, and given back as rows are cleared.
    """

    def __init__(self, sizes: tuple[int, int, int, int, int], dtype: torch.dtype, device: torch.device) -> None:
        """Takes what is needed.

        Args:
            sizes: L, R, N, C and H.
            dtype: Number format.
            device: Where.
        """
        # Zeros, not uninitialised memory: a masked column gets weight 0, and 0 * NaN would still be NaN.
        self.lazy = False
        layers, rows, heads, columns, size = sizes
        self.data_LRNCH = torch.zeros(layers, rows, columns, heads, size, dtype=dtype, device=device).transpose(2, 3)

    def clear(self, row: int, columns: int) -> None:
        """Makes the first columns of a row zeros again."""
        self.data_LRNCH[:, row, :, :columns] = 0


class LazyBacking(Backing):
    """The same on a CPU, from pages that the system gives when they are written to."""

    def __init__(self, sizes: tuple[int, int, int, int, int], dtype: torch.dtype) -> None:
        """Asks for addresses.

        Raises:
            OSError: The system does not lend so many.
        """
        layers, rows, heads, columns, size = sizes
        step = mmap.PAGESIZE // gcd(mmap.PAGESIZE, layers * heads * size * dtype.itemsize)
        columns += -columns % step  # rows end where pages end
        self._row_bytes = prod((layers, heads, columns, size)) * dtype.itemsize
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE
        self._pages = mmap.mmap(-1, rows * self._row_bytes, flags=flags)
        with suppress(OSError):  # a kernel without huge pages, where there is nothing to forbid
            self._pages.madvise(mmap.MADV_NOHUGEPAGE)  # one position of one layer would take 2 MB
        self.lazy = True
        data_RLCNH = torch.frombuffer(self._pages, dtype=dtype).view(rows, layers, columns, heads, size)
        # Row after row, so that each can be given back by itself.
        self.data_LRNCH = data_RLCNH.transpose(0, 1).transpose(2, 3)

    def clear(self, row: int, columns: int) -> None:
        """Gives the system the memory of a row, which is zeros again."""
        self._pages.madvise(mmap.MADV_DONTNEED, row * self._row_bytes, self._row_bytes)


def backing(
    sizes: tuple[int, int, int, int, int], most: tuple[int, int], dtype: torch.dtype, device: torch.device
) -> Backing:
    """Memory for so many rows and columns, with room to grow where that costs nothing.

    Args:
        sizes: L, R, N, C and H that are needed.
        most: R and C that may come to be needed.
        dtype: Number format.
        device: Where.

    Raises:
        RuntimeError: There is not so much memory.
    """
    layers, rows, heads, columns, size = sizes
    with torch.inference_mode(False):  # a tensor made in that mode could not be written to outside of it
        if device.type == "cpu" and NORESERVE and rows * columns and most > (0, 0):
            try:
                return LazyBacking((layers, max(rows, most[0]), heads, max(columns, most[1]), size), dtype)
            except OSError:  # a limit on addresses, or a system that lends nothing: then only what is needed
                pass
        return Backing(sizes, dtype, device)
