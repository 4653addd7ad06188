"""Writes run_ids.json: the ids of runs on small corpora of noise. Run by hand only, where ids are meant to change.

python tests/golden/write_run_ids.py

The record is of version 0.1.0 (commit e3874a4). An id that changes makes every finished run of it worthless.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
from omegaconf import OmegaConf

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.job_runs import JOBS, run
from helpers.small_corpus import VOCABULARY, shard_here

from genrescale.audio import SAMPLE_RATE, Song, Tag, Vocabulary
from genrescale.config import (
    AugmentConfig,
    ContrastConfig,
    DataConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    SiteConfig,
)
from genrescale.config.corpus import ShardSettings
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.upkeep.mix import mix_corpora
from genrescale.launch.sweep import SweepConfig, plan_trials
from genrescale.storage.store import Store
from genrescale.training.resolve import resolve

GOLDEN = Path(__file__).with_name("run_ids.json")
SWEEPS = sorted(path.stem for path in (JOBS / "conf" / "sweep").glob("*.yaml"))
SEED = 22  # with it the scalars of normalisation lie far from where four digits round to others
SMALL = ["sizes=[8,24]", "seeds=[0]"]  # the rest of a sweep is as its file says
SETTINGS = ShardSettings(val_fraction=0.2, test_fraction=0.2, songs_per_shard=4, min_s=0.5)
CLASSES = Vocabulary((Tag("rock"), Tag("jazz")), exclusive=True)
DATA = DataConfig(size=16, crop_s=3.0, batch=8, group=4)
RUNS = {
    "waveform": RunConfig(data=DataConfig(size=16)),
    "spectrogram": RunConfig(ModelConfig("spectrogram"), DATA, seed=3),
    "spectrogram_15_s": RunConfig(ModelConfig("spectrogram", {"backend_layers": 1}), DataConfig(size=24)),
    "given_normalisation": RunConfig(ModelConfig("spectrogram", {"log_mel_mean": 1.5, "log_mel_std": 2.5}), DATA),
    "short_chunk": RunConfig(ModelConfig("short_chunk"), DATA, augment=AugmentConfig(0.5, 2.0, 0.2)),
    "focal": RunConfig(data=DATA, loss="focal", loss_dials={"gamma": 3.0}, precision="bf16"),
    "shuffled": RunConfig(data=dataclasses.replace(DATA, labels="shuffled", val_songs=4)),
    "class_aware": RunConfig(data=dataclasses.replace(DATA, sampler="class_aware")),
    "windows": RunConfig(data=dataclasses.replace(DATA, sampler="windows", window_shards=2)),
    "spread": RunConfig(data=dataclasses.replace(DATA, scoring="spread:32", validation_scoring="spread:16")),
    "optim": RunConfig(data=DATA, optim=OptimConfig("adamw", 1e-4, best_by="val_pr_auc", freeze=["frontend"])),
}
RUNS_ON_MIX = {
    "mixture": RunConfig(data=dataclasses.replace(DATA, sampler="mixture", weights=[3.0, 1.0])),
    "contrast": RunConfig(data=DATA, contrast=ContrastConfig(0.7)),
    "uniform": RunConfig(data=DATA),
}


def noise(name: str, num_samples: int) -> np.ndarray:
    """Bytes of a hash: the same on every machine and in every version of NumPy. The level differs by song."""
    pcm_T = np.frombuffer(hashlib.shake_256(f"{SEED} {name}".encode()).digest(2 * num_samples), "<i2")
    return pcm_T >> 1 + len(name) % 3


def noise_corpus(folder: Path, name: str, num_songs: int, vocabulary: Vocabulary) -> Manifest:
    """Songs of 2 to 5 s, in shards of four."""
    folder.mkdir(parents=True)
    songs = []
    for i in range(num_songs):
        key, labels = f"{name}{'-' * (i % 3)}{i}", {("rock", "jazz")[i // 2 % 2]: 1.0}
        soundfile.write(folder / f"{key}.wav", noise(key, 2 * SAMPLE_RATE + i * 1301), SAMPLE_RATE, "PCM_16")
        labels |= {} if vocabulary.exclusive else {"energy": i % 5 / 4}
        songs.append(Song(key, str(folder / f"{key}.wav"), f"artist{i // 2}", labels))
    result = shard_here(songs, Store(str(folder / "shards")), settings=SETTINGS, vocabulary=vocabulary)
    return read_manifest(result.manifest.uri)


def composed(sweep: str) -> SweepConfig:
    """A sweep as jobs/scale_sweep.py composes it, at small sizes."""
    printed = run("scale_sweep", f"sweep={sweep}", *SMALL, "--help").stdout
    settings = OmegaConf.create(printed.partition("Settings and their defaults:\n")[2])
    names = [field.name for field in dataclasses.fields(SweepConfig)]
    return OmegaConf.to_object(OmegaConf.merge(SweepConfig, OmegaConf.masked_copy(settings, names)))  # type: ignore[return-value]


def ids_of_sweeps(corpus: Manifest) -> dict[str, list[str]]:
    site = SiteConfig(corpus=corpus.uri, out="/nowhere")
    return {name: [trial.run_id for trial in plan_trials(composed(name), site, corpus)] for name in SWEEPS}


def ids_of_runs(runs: dict[str, RunConfig], corpus: Manifest) -> dict[str, str]:
    site = SiteConfig(corpus=corpus.uri, out="/nowhere")
    return {name: resolve(run, site, corpus).ticket.run_id for name, run in runs.items()}


def find_ids(folder: Path) -> dict[str, dict[str, list[str]] | dict[str, str]]:
    corpus = noise_corpus(folder / "tags", "song", 70, VOCABULARY)
    parts = [noise_corpus(folder / name, name, 20, CLASSES) for name in ("first", "second")]
    mixed, _ = mix_corpora(parts, Store(str(folder / "mix")))
    return {
        "sweeps": ids_of_sweeps(corpus),
        "runs": ids_of_runs(RUNS, corpus),
        "runs on a mix": ids_of_runs(RUNS_ON_MIX, mixed),
    }


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        GOLDEN.write_text(json.dumps(find_ids(Path(folder)), indent=1) + "\n")
