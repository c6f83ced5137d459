"""What a machine has, and what of it is free while jobs run side by side."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dstack_core.home import dstack_home
from dstack_core.models import Gpu, Offer, Requirements

DEFAULT_CPU: Final = 1.0
"""A job that asks for no CPUs is counted as one, so that as many run at once as the machine has."""


@dataclass(frozen=True)
class Share:
    """What one running job holds.

    Attributes:
        cpu: thousandths of a CPU.
        gpus: indices of those that are its own; None: it asked for none, and sees all.
    """

    cpu: int
    memory: int
    gpus: tuple[int, ...] | None = None
    locks: tuple[int, ...] = ()


class Room:
    """What is left of a machine, for whoever only reckons with it."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self._cpu = _thousandths(offer.cpu)
        self._memory = offer.memory
        self._gpus = len(_devices(offer.gpu)) if offer.gpu else 0

    def take(self, requirements: Requirements) -> bool:
        """Whether there is room for a job with these requirements; then it is taken."""
        cpu, memory, gpus = _wanted(requirements, self.offer)
        if cpu > self._cpu or memory > self._memory or gpus > self._gpus:
            return False
        self._cpu -= cpu
        self._memory -= memory
        self._gpus -= gpus
        return True


class Capacity:
    """Hands out shares of one machine. Not thread-safe: one thread decides.

    GPUs are also taken from other runs on this machine: each is a lock on a file, which the kernel frees when the
    runner dies. CPUs and memory are shared between runs, as programs on one machine do.
    """

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        # Whole thousandths: taken and given back, fractions would not add up to what there was.
        self._cpu = _thousandths(offer.cpu)
        self._memory = offer.memory
        self._gpus = set(_devices(offer.gpu) if offer.gpu else ())

    def take(self, requirements: Requirements) -> Share | None:
        """A share that satisfies `requirements`, or None when that much is not free now."""
        cpu, memory, wanted = _wanted(requirements, self.offer)
        if cpu > self._cpu or memory > self._memory or wanted > len(self._gpus):
            return None
        locked = self._lock_gpus(wanted)
        if locked is None:
            return None
        self._cpu -= cpu
        self._memory -= memory
        self._gpus -= set(locked)
        return Share(cpu, memory, tuple(locked) if wanted else None, tuple(locked.values()))

    def give_back(self, share: Share) -> None:
        """The job is over."""
        self._cpu += share.cpu
        self._memory += share.memory
        self._gpus |= set(share.gpus or ())
        for lock in share.locks:
            os.close(lock)

    def _lock_gpus(self, wanted: int) -> dict[int, int] | None:
        locked: dict[int, int] = {}
        for index in sorted(self._gpus):
            if len(locked) == wanted:
                break
            folder = dstack_home() / "gpus"
            folder.mkdir(mode=0o700, exist_ok=True)
            lock = os.open(folder / f"{index}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                locked[index] = lock
            except OSError:
                os.close(lock)
        if len(locked) == wanted:
            return locked
        for lock in locked.values():
            os.close(lock)
        return None


def _wanted(requirements: Requirements, offer: Offer) -> tuple[int, int, int]:
    """Thousandths of a CPU, bytes, GPUs. On a machine with less than one CPU, a job that asks for none gets all."""
    cpu = _thousandths(min(requirements.cpu or DEFAULT_CPU, offer.cpu))
    return cpu, requirements.memory or 0, requirements.gpu.count if requirements.gpu else 0


def _devices(gpu: Gpu) -> Sequence[int]:
    return gpu.devices or range(gpu.count)


def _thousandths(cpu: float) -> int:
    return max(1, round(cpu * 1000))
