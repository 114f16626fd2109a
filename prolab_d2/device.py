"""Whether PyTorch can compute on the device that a user names."""

from __future__ import annotations

from prolab_d2.errors import ProLabError, first_line

__all__ = ["check_device"]


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
