"""What ended a run is the sentence that our code raised, whatever Ray wrapped around it."""

from __future__ import annotations

import json

import pytest
from ray.exceptions import RayActorError, RayTaskError
from ray.train import ControllerError, WorkerGroupError

from genrescale.data.reading.spans import DamagedShardError
from genrescale.launch.errors import error_sentence
from genrescale.storage.store import StoreError

DAMAGE = DamagedShardError("shard a.tar: second 3 of song x does not match its checksum")
SENTENCE = f"DamagedShardError: {DAMAGE}"


def of_task(cause: Exception) -> RayTaskError:
    """As a process meets it that asked for a task's result: Ray makes a class that is the cause's too."""
    return RayTaskError("task", "Traceback ...\nKeyError: 'some line of a trace'", cause).as_instanceof_cause()  # type: ignore[return-value]


def raised(error: Exception, cause: Exception | None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


def while_handling(first: Exception, second: Exception) -> Exception:
    try:
        try:
            raise first
        except Exception:
            raise second  # noqa: B904
    except Exception as caught:
        return caught


def store_that_read_bad_json() -> Exception:
    try:
        json.loads("{")
    except ValueError as error:
        return raised(StoreError("s3://music/manifest.json is no JSON"), error)
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (DAMAGE, SENTENCE),
        (of_task(DAMAGE), SENTENCE),
        (of_task(of_task(DAMAGE)), SENTENCE),
        (raised(of_task(DAMAGE), Exception("of Ray Data")), SENTENCE),
        (ControllerError(of_task(DAMAGE)), SENTENCE),
        (
            WorkerGroupError("ranks failed", {0: RuntimeError("connection closed by peer"), 1: of_task(DAMAGE)}),
            SENTENCE,
        ),
        (while_handling(DAMAGE, RuntimeError("the stream could not be closed")), SENTENCE),
        (raised(RuntimeError("the engine failed"), DAMAGE), SENTENCE),
        (store_that_read_bad_json(), "StoreError: s3://music/manifest.json is no JSON"),
        (raised(ValueError("use a lower lr"), None), "ValueError: use a lower lr"),
        (
            of_task(RuntimeError("CUDA error: out of memory\nCompile with ...")),
            "RuntimeError: CUDA error: out of memory",
        ),
        (
            RayActorError(error_msg="The actor died.\n\tip: 10.0.0.1\nIts node has died."),
            "RayActorError: Its node has died.",
        ),
        (AssertionError(), "AssertionError"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_sentence_is_that_of_the_error_that_says_what_happened(error: Exception, sentence: str):
    assert error_sentence(error) == sentence
