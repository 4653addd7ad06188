"""What ended a run, in one sentence: the error that says it, out of those that Ray wrapped around it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from ray.exceptions import RayTaskError
from ray.train import ControllerError, WorkerGroupError


def error_sentence(error: BaseException) -> str:
    """``Type: text`` of the error that says what happened.

    It is the outermost error of genrescale or ValueError, else the outermost that is not Ray's own: code that raises
    an error because of another one says more. Of Ray's own errors alone, their last line is the reason.
    """
    causes = list(_causes(error))
    if said := [cause for cause in causes if _says_what_to_do(cause)] or causes:
        name, lines = type(said[0]).__name__, str(said[0]).strip().splitlines()[:1]
    else:
        name, lines = type(error).__name__, str(error).strip().splitlines()[-1:]
    return ": ".join([name, *(line.strip() for line in lines)])


def is_unexpected(error: BaseException) -> bool:
    """Whether an error is a mistake of this software: it says nothing to do, and is not Ray's or the system's."""
    causes = list(_causes(error))
    return bool(causes) and not any(_says_what_to_do(c) or isinstance(c, (OSError, MemoryError)) for c in causes)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it comes from, nearest first, without Ray's own."""
    waiting, seen = deque([error]), set()
    while waiting:
        error = waiting.popleft()
        if id(error) in seen:
            continue
        seen.add(id(error))
        if _package(error) != "ray":
            yield error
        waiting.extend(_next(error))


def _next(error: BaseException) -> list[BaseException]:
    """What an error was raised because of; of a failed group of workers, every worker's error."""
    if isinstance(error, WorkerGroupError):
        return list(error.worker_failures.values())
    if isinstance(error, ControllerError):
        return [error.controller_failure]
    if isinstance(error, RayTaskError):
        return [error.cause]
    context = None if error.__suppress_context__ else error.__context__
    return [cause for cause in (error.__cause__ or context,) if cause is not None]


def _says_what_to_do(error: BaseException) -> bool:
    return isinstance(error, ValueError) or _package(error) == "genrescale"


def _package(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]
