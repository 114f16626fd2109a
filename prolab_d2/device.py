"""What there is to compute with."""

from __future__ import annotations

import os

from prolab_d2.errors import ProLabError, first_line

__all__ = ["available_cores", "check_device"]


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
