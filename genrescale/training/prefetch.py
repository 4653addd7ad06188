"""One group ahead of the model: fetched, and copied to its device, while the model computes with the group before.

Shapes: n clips of a group, T samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from genrescale.data.reading.source import CropGroup


@dataclass(frozen=True, eq=False, kw_only=True)
class DeviceGroup(CropGroup):
    """A group whose audio is where the model is: ``sent_nT`` int16, a tensor on a GPU; on a CPU it is ``wave_nT``."""

    sent_nT: np.ndarray | Tensor


class GroupsAhead(Iterator[DeviceGroup]):
    """The groups of a stream, in its order, each asked for when the one before it is handed out: never more than one.

    A thread does it, so it does not matter where the training step waits for its device. To a GPU the audio goes as
    int16, page-locked and on a stream of its own: on the stream of the computation it would queue behind the kernels.
    What the stream raises is raised where its group is taken. A context manager: its end waits until the thread has
    let go of the stream. The group fetched last is dropped then; a position counts groups taken, so it is read again.
    """

    def __init__(self, groups: Iterator[CropGroup], device: torch.device) -> None:
        self._groups, self._device = groups, device
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._thread = ThreadPoolExecutor(1, "groups-ahead")
        self._coming = self._thread.submit(self._fetch)

    def __next__(self) -> DeviceGroup:
        group, copied = self._coming.result()
        if group is None:
            raise StopIteration
        self._coming = self._thread.submit(self._fetch)
        if copied is not None and isinstance(group.sent_nT, Tensor):
            computing = torch.cuda.current_stream(self._device)
            computing.wait_event(copied)
            group.sent_nT.record_stream(computing)  # or the next copy may take its memory while kernels read it
        return group

    def _fetch(self) -> tuple[DeviceGroup | None, torch.cuda.Event | None]:
        """The next group and the end of its copy; no group at the end of the stream."""
        group = next(self._groups, None)
        if group is None:
            return None, None
        if self._copies is None:
            return DeviceGroup(**vars(group), sent_nT=group.wave_nT), None
        with torch.cuda.stream(self._copies):
            pinned_nT = torch.empty(group.wave_nT.shape, dtype=torch.int16, pin_memory=True)
            pinned_nT.numpy()[:] = group.wave_nT
            sent_nT = pinned_nT.to(self._device, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record(self._copies)
            return DeviceGroup(**vars(group), sent_nT=sent_nT), copied

    def __enter__(self) -> GroupsAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)
