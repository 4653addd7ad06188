"""What a trial costs beyond its training: job start to first step, and the overhead of each following trial.

Runs six short runs one at a time on a private Ray (two logical CPUs) over a small corpus that it synthesises.
`first` and `next` are seconds from the launch of a trial to the end of its first step; `around` is all the time of a
trial outside its training loop. python benchmarks/trial_overhead.py
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time

from genrescale.config import DataConfig, OptimConfig, SiteConfig
from genrescale.config.corpus import ShardSettings, SynthesisConfig
from genrescale.config.sweep import SweepConfig
from genrescale.data.manifest import read_manifest
from genrescale.data.sharding.synthetic import embedded_corpus
from genrescale.launch.capacity import capacity
from genrescale.launch.cluster import cluster_nodes, connect
from genrescale.launch.sweep import plan_trials, run_sweep
from genrescale.storage.store import Store

NARROW = {"frontend_width": 0.125, "backend_filters": 32, "backend_units": 64}


def main() -> None:
    begun = time.time()
    with tempfile.TemporaryDirectory() as folder, connect(num_cpus=2, trains=True):
        connected = time.time() - begun
        files = Store(folder)
        settings = ShardSettings(songs_per_shard=64, val_fraction=0.1, test_fraction=0.1)
        embedded_corpus(files, SynthesisConfig(songs=120), settings)
        site = SiteConfig(corpus=files.child("shards").uri, out=folder)
        assert capacity(site, cluster_nodes()).concurrent == 1
        sweep = SweepConfig(
            families=["waveform"],
            sizes=[64],
            seeds=list(range(6)),
            dials={"waveform": NARROW},
            data=DataConfig(crop_s=3.0),
            optim=OptimConfig(max_steps=20, validate_every=20),
        )
        rows = run_sweep(plan_trials(sweep, site, read_manifest(site.corpus)), site).rows.values()
    rows = sorted(rows, key=lambda row: row.seed)
    following = [row.seconds_to_first_step for row in rows[1:]]
    around = [row.seconds_total - row.seconds_training for row in rows[1:]]
    figures = {
        "ray_start_s": connected,
        "first_s": rows[0].seconds_to_first_step,
        "next_s": statistics.median(following),
        "next_min_s": min(following),
        "around_s": statistics.median(around),
    }
    for name, value in figures.items():
        print(f"{name:>12} {value:6.1f}")
    print(json.dumps({"benchmark": "trial_overhead", "figures": {name: round(v, 2) for name, v in figures.items()}}))


if __name__ == "__main__":
    main()
