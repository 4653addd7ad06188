"""Processes by what their command line says; one that ends meanwhile is passed over."""

from __future__ import annotations

import psutil


def descendants(top: int, words: str) -> list[psutil.Process]:
    """The processes below ``top`` whose command line holds ``words``."""
    try:
        return [process for process in psutil.Process(top).children(recursive=True) if words in _command_line(process)]
    except psutil.NoSuchProcess:
        return []


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it ended, or has no command line any more (a zombie)
        return ""
