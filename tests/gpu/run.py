"""make gpu: the tests of this folder and benchmarks/step.py on this machine's GPU, as one JSON.

python tests/gpu/run.py [FILE]        build/gpu.json; minutes on a machine without anything else to do
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
STEP = [sys.executable, str(ROOT / "benchmarks/step.py"), "device=cuda"]


class Outcomes:
    """A plugin of pytest that notes how each test ended."""

    def __init__(self) -> None:
        self.by_name: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.rpartition("::")[2]
        if report.when == "call" or report.outcome != "passed":
            self.by_name[name] = report.outcome


def device() -> dict[str, Any]:
    if not torch.cuda.is_available():
        return {"device": "", "torch": torch.__version__}
    return {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda}


def main(file: Path) -> int:
    outcomes = Outcomes()
    failed = pytest.main([str(ROOT / "tests/gpu"), "-rs"], plugins=[outcomes])
    figures: dict[str, Any] = {}
    if torch.cuda.is_available():
        step = subprocess.run(STEP, stdout=subprocess.PIPE, text=True, check=False)
        print(step.stdout)
        failed = failed or step.returncode
        figures = json.loads(step.stdout.splitlines()[-1])["figures"] if step.returncode == 0 else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({**device(), "tests": outcomes.by_name, "step": figures}, indent=1) + "\n")
    print(f"[gpu] {file}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build/gpu.json"))
