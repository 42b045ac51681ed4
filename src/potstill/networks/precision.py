"""How exactly networks compute, and on how many cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch


def half_precision(device: str = "cpu", *, wanted: bool = True) -> AbstractContextManager[Any]:
    """Inside, products of matrices and convolutions are in bfloat16 where the processor multiplies those.

    That is twice as fast there, and slower elsewhere.
    """
    enabled = wanted and device == "cpu" and _has_bfloat16()
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled)


@contextmanager
def cores(threads: int) -> Iterator[None]:
    """Inside, torch uses ``threads`` cores; afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _has_bfloat16() -> bool:
    try:
        capabilities = torch.cpu.get_capabilities()
    except AttributeError:  # an older torch
        return False
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
