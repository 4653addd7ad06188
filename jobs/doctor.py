#!/usr/bin/env python
"""Check a machine or a cluster, and say what to mend. Under a minute; nothing is changed.

python jobs/doctor.py                                    this machine: versions, GPUs, memory, disk, ports, Ray
python jobs/doctor.py store=s3://music/sweep             and a store: its rights, by a small file that comes and goes
ray job submit --working-dir . -- python jobs/doctor.py store=s3://music use_gpu=true    every node of a cluster

One line for each check: ok, warning or fault, and below what is not ok the remedy. Exit status: 0 without a fault, also
with warnings; 1 with a fault.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain

from _cli import place, run_job

from genrescale.telemetry.terminal import say


@dataclass
class DoctorJob:
    store: str = ""
    use_gpu: bool = False
    ray: bool = True


def main(job: DoctorJob) -> int:
    from genrescale.doctor.all_checks import machine_findings, store_findings
    from genrescale.launch.nodes import ray_findings

    store = place("", job.store, "store") if job.store else None
    findings = chain(
        machine_findings(job.use_gpu),
        store_findings(store) if store else (),
        ray_findings(job.use_gpu) if job.ray else (),
    )
    count = Counter[str]()
    for finding in findings:
        say(finding.lines())
        count[finding.state] += 1
    say(f"{count['ok']} checks ok, {count['warning']} warnings, {count['fault']} faults")
    return 1 if count["fault"] else 0


if __name__ == "__main__":
    run_job(DoctorJob, "doctor", main, __doc__)
