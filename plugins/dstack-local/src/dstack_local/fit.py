"""Whether a job fits this machine, and if not, why, in words."""

from __future__ import annotations

from collections.abc import Sequence

from dstack_core.matching import in_words, is_kind, suits
from dstack_core.models import Gpu, Requirements
from dstack_local import host


def best(gpus: Sequence[Gpu], wanted: Gpu | None) -> Gpu | None:
    """The largest number of equal GPUs; of those that are wanted, if there are any.

    `gpus` are the machine's, one item each, in the order of their indices.
    """
    kinds: dict[Gpu, list[int]] = {}
    for index, gpu in enumerate(gpus):
        kinds.setdefault(gpu, []).append(index)
    fitting = {gpu: devices for gpu, devices in kinds.items() if wanted and is_kind(gpu, wanted)} or kinds
    if not fitting:
        return None
    kind, devices = max(fitting.items(), key=lambda item: len(item[1]))
    return Gpu(len(devices), kind.name, kind.memory, tuple(devices))


def reasons(wanted: Requirements, cpu: float, memory: int, gpu: Gpu | None) -> list[str]:
    """What this machine lacks; empty if nothing."""
    found = []
    if wanted.cpu is not None and wanted.cpu > cpu:
        found.append(f"needs {wanted.cpu:g} cpu, has {cpu:g}")
    if wanted.memory is not None and wanted.memory > memory:
        found.append(f"needs {in_words(wanted.memory)} of memory, has {in_words(memory, wanted.memory)}")
    if wanted.shm_size is not None and wanted.shm_size > host.shared_memory():
        has = in_words(host.shared_memory(), wanted.shm_size)
        found.append(f"needs {in_words(wanted.shm_size)} of /dev/shm, has {has}")
    if wanted.gpu is not None and not suits(gpu, wanted.gpu):
        found.append(f"needs {_gpu_text(wanted.gpu)}, has {_machine_gpu_text(gpu, wanted.gpu.memory)}")
    return found


def _gpu_text(gpu: Gpu) -> str:
    text = f"{gpu.count} gpu" if gpu.name is None else f"{gpu.count} {gpu.name} gpu"
    return text if gpu.memory is None else f"{text} with {in_words(gpu.memory)}"


def _machine_gpu_text(gpu: Gpu | None, like: int | None) -> str:
    return f"{gpu.count} {gpu.name} with {in_words(gpu.memory or 0, like)}" if gpu else "none"
