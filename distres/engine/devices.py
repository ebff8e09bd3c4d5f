"""GPUs: which workers have one, one worker a device, and tiles that fit its memory."""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin

from distres.engine.cluster import Executor
from distres.errors import ClusterError

logger = logging.getLogger(__name__)

# There without an import of torch, which takes seconds; absent where no driver is.
DRIVERS = ("/dev/nvidiactl", "/dev/dxg")
# Left free on a device: its context, and what the maths libraries keep.
USABLE = 0.9


def visible_devices() -> list[str]:
    """Return the GPUs of this machine by the names that ``CUDA_VISIBLE_DEVICES`` uses."""
    if not any(Path(driver).exists() for driver in DRIVERS):
        return []
    import torch

    if not torch.cuda.is_available():
        return []
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named or [str(index) for index in range(torch.cuda.device_count())]


def device_memory_bytes() -> int | None:
    """Return the memory of the GPU that this process computes on; None without one."""
    if not visible_devices():
        return None
    import torch

    return int(torch.cuda.get_device_properties(0).total_memory)


class OneDevice(WorkerPlugin):
    """A local worker, also one that was started again, sees the device of its number alone."""

    name = "distres-device"

    def __init__(self, devices: Sequence[str]) -> None:
        self.devices = list(devices)

    def setup(self, worker: Any) -> None:  # noqa: ANN401
        """Run in each worker as it starts, before anything loads CUDA."""
        os.environ["CUDA_VISIBLE_DEVICES"] = self.devices[int(worker.name) % len(self.devices)]


def local_workers(device: str) -> int | None:
    """Return how many local workers to start where the user does not say: one a device."""
    return None if device == "cpu" else len(visible_devices()) or None


def fit_to_devices(executor: Executor, device: str) -> Executor:
    """Give each worker its device, and let tiles be planned for the memory of the smallest.

    Parameters
    ----------
    device
        ``auto`` falls back to the CPU with a notice where a GPU was to be expected; ``cuda`` is
        refused there; ``cpu`` changes nothing.

    Raises
    ------
    ClusterError
        ``cuda``, and a worker has no GPU.
    """
    if device == "cpu":
        return executor
    devices = visible_devices() if executor.kind in ("none", "local") else []
    if executor.client is None:
        found = [device_memory_bytes()]
    else:
        if devices:
            executor.client.register_plugin(OneDevice(devices))
        found = list(executor.client.run(device_memory_bytes).values())
    share = max(1, -(-executor.workers // len(devices))) if devices else 1
    return _planned_for(executor, found, device, share)


def _promised(executor: Executor) -> bool:
    """Tell whether somebody said that there are GPUs: the profile, or workers that offer them."""
    if executor.resources and "GPU" in executor.resources:
        return True
    if executor.client is None:
        return False
    workers = executor.client.scheduler_info(n_workers=-1)["workers"].values()
    return any("GPU" in worker.get("resources", {}) for worker in workers)


def _planned_for(
    executor: Executor, found: Sequence[int | None], device: str, share: int
) -> Executor:
    usable = [int(USABLE * size) // share for size in found if size]
    without = len(found) - len(usable)
    if without and device == "cuda":
        raise ClusterError(
            f"--device cuda, but {without} of {len(found)} workers have no GPU that torch can use; "
            "start all of them with one, or use --device cpu, or auto"
        )
    if without and usable:
        logger.warning(
            "%d of %d workers have no GPU and compute on the CPU: their tiles agree with the "
            "others to rounding; --device cpu gives the same bits from all",
            without,
            len(found),
        )
    elif without and _promised(executor):
        logger.warning(
            "the cluster profile asks for GPUs or workers offer them, but torch finds none in any "
            "worker (a build without CUDA?); tiles are computed on the CPU"
        )
    if not usable:
        return executor
    least = min([*usable, *([executor.memory_bytes] if executor.memory_bytes else [])])
    return replace(executor, memory_bytes=least)
