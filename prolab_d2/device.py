"""What there is to compute with."""

from __future__ import annotations

import ctypes
import os
import sys

from prolab_d2.errors import ProLabError, first_line

__all__ = ["available_cores", "check_device", "tune_cpu"]

# Of glibc's mallopt.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_ALL, _MOST = 2**31 - 1, 2**25
_ALLOCATOR = ("GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def check_device(name: str) -> None:
    """
    Raises:
        ProLabError: PyTorch does not know the device, or it is not there.
    """
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ProLabError(
            f"device {name!r} cannot be used ({first_line(error)}): try cpu"
        ) from error


def available_cores() -> int:
    """Processor cores that this process may use: a container may hold fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def tune_cpu(*, training: bool = False) -> None:
    """Makes networks on a CPU faster and keeps their memory within bounds.

    For programs, at their start: it is the whole process that changes. Who has set the environment
    variables that say the same is left alone.

    Freed memory stays with the process, where the C library is glibc. It gives large pieces back at
    once, and to get the pages of the next ones from the kernel takes a network up to a quarter of
    its time.

    What oneDNN prepares for every size of image is kept for the last size only, unless `training`,
    where sizes are few and an image needs more of it. PyTorch keeps so much that the memory of a
    process grows to several times what an image needs.
    """
    if not training:
        _keep_few_primitives()
    _keep_freed_memory()


def _keep_few_primitives() -> None:
    # Read by oneDNN when it prepares something for the first time. EfficientNet-Lite0 with UPerNet
    # needs 112 for a size; to prepare them anew takes 0.2 ms each.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")


def _keep_freed_memory() -> None:
    if not sys.platform.startswith("linux") or any(name in os.environ for name in _ALLOCATOR):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return
    mallopt(_TRIM_THRESHOLD, _ALL)
    if not mallopt(_MMAP_THRESHOLD, _ALL):  # glibc before 2.35
        mallopt(_MMAP_THRESHOLD, _MOST)
