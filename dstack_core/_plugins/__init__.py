"""Plugins: list, check, load, register, report. Core asks `Plugins`, and knows no plugin by name."""

from __future__ import annotations

from dstack_core._plugins.registry import Plugins

__all__ = ["Plugins"]
