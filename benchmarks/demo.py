"""Where the demo's time goes: wall time of each phase, and what its runs measured themselves.

Runs the demo's job in a temporary folder, reads the stages off its progress lines and the rest off its result rows.
python benchmarks/demo.py    (about 8 minutes on two cores)
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from genrescale.results import read_results
from genrescale.storage.store import Store

ROOT = Path(__file__).parents[1]
STAGES = ("connect", "synthesize_corpus", "shard_corpus", "scale_sweep", "report")
_LINE = re.compile(r"^\[(\w+)\] \d")


def run_demo(out: str) -> dict[str, float]:
    """Seconds of each stage: a stage begins with its first progress line and ends with its last.

    ``silence`` is the longest time without a line, from the start of the job to its last line, as a log sees it.
    """
    command = [sys.executable, "jobs/scale_sweep.py", "sweep=demo", f"out={out}"]
    begun = time.time()
    seen: dict[str, tuple[float, float]] = {}
    job = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert job.stderr is not None
    last = silence = 0.0
    for line in job.stderr:
        now = time.time() - begun
        last, silence = now, max(silence, now - last)
        if match := _LINE.match(line):
            seen[match[1]] = (seen.get(match[1], (now, now))[0], now)
    if job.wait():
        raise RuntimeError(f"the demo ended with {job.returncode}")
    total = time.time() - begun
    seconds = {stage: end - start for stage, (start, end) in seen.items()}
    return {
        **seconds,
        "connect": seen["synthesize_corpus"][0],
        "report": total - seen["scale_sweep"][1],
        "total": total,
        "silence": max(silence, total - last),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        seconds = run_demo(folder)
        rows = list(read_results(Store(folder)).values())
    figures = {f"{stage}_s": seconds[stage] for stage in (*STAGES, "total", "silence")}
    for family in ("waveform", "spectrogram"):
        of_family = [row for row in rows if row.model == family]
        figures[f"{family}_clips_per_s"] = statistics.median(row.clips_per_s for row in of_family)
    figures["data_wait_share"] = statistics.median(row.data_wait_share for row in rows)
    figures["data_wait_share_max"] = max(row.data_wait_share for row in rows)
    figures["first_step_s"] = statistics.median(row.seconds_to_first_step for row in rows)
    for name, value in figures.items():
        print(f"{name:>24} {value:9.3f}")
    print(json.dumps({"benchmark": "demo", "figures": {name: round(v, 4) for name, v in figures.items()}}))


if __name__ == "__main__":
    main()
