"""A stranger on the machine: knocks on ports without a token, as the user nobody, and prints what let it in, as JSON.

python knock.py PIDS FOLDER ADDRESS:PORT...
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

NOBODY = 65534
CLOSED = 9
JOB = json.dumps({"entrypoint": "id > /tmp/genrescale-stranger"})
HTTP = [("GET", "/api/jobs/", None), ("POST", "/api/jobs/", JOB), ("GET", "/api/v0/actors", None), ("GET", "/", None)]
# one method each of Ray's control store, node manager and worker; none needs more than an empty request
GRPC = [
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.JobInfoGcsService/GetAllJobInfo",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
]


def http_answers(host: str, port: int) -> list[str]:
    """The requests that Ray's interface served, in JSON.

    Not counted: the page without data, and Ray's metrics exporter, which answers every path with its counters.
    """
    served = []
    for method, path, body in HTTP:
        connection = http.client.HTTPConnection(host, port, timeout=3)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException):
            continue
        finally:
            connection.close()
        is_json = (answer.getheader("Content-Type") or "").startswith("application/json")
        if answer.status < 300 and path != "/" and is_json:
            served.append(f"{method} {path} {answer.status}")
    return served


def grpc_answers(host: str, port: int) -> list[str]:
    served = []
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        for method in GRPC:
            call = channel.unary_unary(method, lambda _: b"", lambda answer: answer)
            try:
                call(None, timeout=3)
            except grpc.RpcError:
                continue
            served.append(method)
    return served


def answers_of(door: str) -> list[str]:
    host, _, port = door.rpartition(":")
    return [*http_answers(host, int(port)), *grpc_answers(host, int(port))]


def readable(pids: list[str], folder: str) -> list[str]:
    """The environments and folders that this user can read."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            file.read(1)
            found.append(file.name)
    with contextlib.suppress(OSError):
        found += os.listdir(folder)
    return found


def main() -> None:
    pids, folder, *doors = sys.argv[1:]
    # loads every module: the user nobody may not be able to read where Python lies
    http_answers("127.0.0.1", CLOSED)
    grpc_answers("127.0.0.1", CLOSED)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    with ThreadPoolExecutor(16) as pool:  # most doors answer nothing, and each of them costs seconds of waiting
        answers = list(pool.map(answers_of, doors))
    opened = {door: found for door, found in zip(doors, answers, strict=True) if found}
    if files := readable(pids.split(","), folder):
        opened["files"] = files
    print(json.dumps(opened))


if __name__ == "__main__":
    main()
