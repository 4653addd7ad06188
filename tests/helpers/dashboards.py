"""What Ray's dashboard answers to somebody who has the token."""

from __future__ import annotations

import urllib.error
import urllib.request

ACTORS = "/api/v0/actors?detail=true"
JOB_LISTS = ("/api/jobs/", "/api/v0/jobs?detail=true")
PATHS = (
    *JOB_LISTS,
    "/nodes?view=details",
    ACTORS,
    "/api/v0/workers?detail=true",
    "/api/v0/tasks?detail=true",
    "/api/v0/runtime_envs?detail=true",
    "/api/v0/placement_groups?detail=true",
    "/api/cluster_status",
)


def dashboard_answers(address: str, token: str) -> dict[str, str]:
    """Answers of the dashboard at ``address``, as text by path."""
    answers = {}
    for path in PATHS:
        request = urllib.request.Request(f"{address}{path}", headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                answers[path] = response.read().decode()
        except urllib.error.HTTPError as error:  # of a list that this cluster does not keep; its text is an answer, too
            assert path not in JOB_LISTS, path
            answers[path] = error.read().decode()
        assert answers[path], path
    return answers
