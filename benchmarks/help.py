"""How soon jobs answer ``--help``: ``python benchmarks/help.py [rounds]``.

Seconds from the start of the process to its end, the median of the rounds, for every job and for a bare
``import hydra, omegaconf``, without which no job can read its settings. The first round is not counted: it fills the
caches of the disk and of Python.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


def seconds(command: Sequence[str], rounds: int) -> float:
    """Median wall time of a process. Raises CalledProcessError where it fails."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    """Measures and prints."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    jobs = sorted((ROOT / "jobs").glob("[a-z]*.py"))
    bare = seconds([sys.executable, "-c", "import hydra, omegaconf"], rounds)
    took = {job.stem: seconds([sys.executable, str(job), "--help"], rounds) for job in jobs}
    print(f"{'import hydra, omegaconf':>24} {bare:6.2f} s")
    for name, value in took.items():
        print(f"{name:>24} {value:6.2f} s  {value / bare:5.2f} times as long")
    slowest = max(took, key=lambda name: took[name])
    figures = {f"{name}_s": round(value, 3) for name, value in took.items()}
    figures |= {"bare_s": round(bare, 3), "slowest_vs_bare": round(took[slowest] / bare, 2)}
    print(json.dumps({"benchmark": "help", "figures": figures}))


if __name__ == "__main__":
    main()
