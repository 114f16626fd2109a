"""One iteration of training: gradients of one or several batches, then a step of the optimiser."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from detectron2.engine import SimpleTrainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from prolab_d2.errors import ProLabError

__all__ = ["PRECISIONS", "TrainStep"]

PRECISIONS = {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}


class TrainStep(SimpleTrainer):
    """Detectron2's `SimpleTrainer` with mixed precision and accumulated gradients.

    With "float16" the loss is scaled so that small gradients survive, with "bfloat16" it need not
    be. Either halves the features only: the property maths is float32 (`PropertySpace`).
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Any,
        optimizer: torch.optim.Optimizer,
        *,
        precision: str = "float32",
        accumulate: int = 1,
    ) -> None:
        """
        Args:
            precision: a key of `PRECISIONS`.
            accumulate: batches (1 or more) whose mean gradient makes one step.
        Raises:
            ProLabError: another precision.
        """
        if precision not in PRECISIONS:
            raise ProLabError(f"SOLVER.AMP.PRECISION is {precision!r}: use 'float16' or 'bfloat16'")
        super().__init__(model, data_loader, optimizer)
        self._device = next(model.parameters()).device.type
        self._dtype = PRECISIONS[precision]
        self._accumulate = accumulate
        # The published training starts at 512; torch's 65,536 loses the first steps to overflow.
        self.grad_scaler = torch.amp.GradScaler(
            self._device, init_scale=512.0, enabled=self._dtype is torch.float16
        )

    def run_step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        totals: dict[str, Tensor | float] = defaultdict(float)
        data_time = 0.0
        for i in range(self._accumulate):
            start = time.perf_counter()
            batch = next(self._data_loader_iter)
            data_time += time.perf_counter() - start
            with self._synchronised(last=i == self._accumulate - 1):
                with torch.autocast(
                    self._device, dtype=self._dtype, enabled=self._dtype is not None
                ):
                    losses = self.model(batch)
                losses = {name: loss / self._accumulate for name, loss in losses.items()}
                self.grad_scaler.scale(sum(losses.values())).backward()
            for name, loss in losses.items():
                totals[name] = totals[name] + loss.detach()
        self._write_metrics(totals, data_time)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _synchronised(self, last: bool) -> AbstractContextManager:
        """Processes exchange their gradients once, with the last batch of a step."""
        if last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if state.get("grad_scaler"):  # empty where nothing was scaled
            self.grad_scaler.load_state_dict(state["grad_scaler"])
