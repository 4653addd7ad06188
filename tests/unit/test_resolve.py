"""A run is completed, checked and named once; who trains it gets a ticket and selects its songs."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.small_corpus import make_song, shard_here

from genrescale.config import DataConfig, ModelConfig, OptimConfig, RunConfig, SiteConfig, run_id
from genrescale.config.corpus import ShardSettings
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.upkeep.take_down import take_down
from genrescale.storage.store import Store
from genrescale.training import resolve as module
from genrescale.training.normalise import normalisation
from genrescale.training.resolve import load_run, resolve

DATA = DataConfig(size=16, crop_s=3.0, batch=8, group=4)
RUN = RunConfig(ModelConfig("spectrogram"), DATA, OptimConfig(max_steps=2, validate_every=1))
SPLIT = ShardSettings(val_fraction=0.2, test_fraction=0.2, songs_per_shard=4, min_s=0.5)


def refused(*arguments: Any, **more: Any) -> None:
    raise AssertionError("a run was completed or checked a second time")


def test_who_trains_a_run_neither_completes_nor_checks_it(corpus: Manifest, monkeypatch: pytest.MonkeyPatch):
    resolved = resolve(RUN, SiteConfig(corpus=corpus.uri, out="/nowhere"), corpus)
    for name in ("complete_run", "check_run", "check_data", "normalisation", "run_id"):
        monkeypatch.setattr(module, name, refused)
    loaded = load_run(sent := pickle.loads(pickle.dumps(resolved.ticket)))
    assert sent == loaded.ticket == resolved.ticket
    assert (loaded.data.digest, loaded.data.test_keys) == (resolved.data.digest, resolved.data.test_keys)
    np.testing.assert_array_equal(loaded.data.rows["train"], resolved.data.rows["train"])


def test_a_ticket_is_small(corpus: Manifest):
    ticket = resolve(RUN, SiteConfig(corpus=corpus.uri, out="/nowhere"), corpus).ticket
    assert len(pickle.dumps(ticket)) < 4_000


def test_a_run_normalises_by_its_own_songs_unless_a_sweep_gives_another_number(corpus: Manifest):
    site = SiteConfig(corpus=corpus.uri, out="/nowhere")
    own, given = resolve(RUN, site, corpus), resolve(RUN, site, corpus, normalisation_size=8)
    for resolved, size in ((own, 16), (given, 8)):
        dials = resolved.ticket.run.model.dials
        assert (dials["log_mel_mean"], dials["log_mel_std"]) == normalisation(corpus, size, 3.0)
    assert own.ticket.run_id != given.ticket.run_id


def test_half_of_a_normalisation_is_refused(corpus: Manifest):
    run = replace(RUN, model=ModelConfig("spectrogram", {"log_mel_mean": 1.0}))
    with pytest.raises(ValueError, match=r"model\.dials\.log_mel_mean needs the other of log_mel_mean and log_mel_std"):
        resolve(run, SiteConfig(corpus=corpus.uri, out="/nowhere"), corpus)


def test_addresses_are_absolute_and_the_code_is_no_part_of_the_id(corpus: Manifest, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(Path(corpus.uri).parent)
    site = SiteConfig(corpus=Path(corpus.uri).name, out="runs", parents="others")
    tickets = []
    for version in ("0.1.0", "0.2.0+gabc"):
        monkeypatch.setattr(module, "code_version", lambda version=version: version)
        tickets.append(resolve(RUN, site, corpus).ticket)
    assert [ticket.code_version for ticket in tickets] == ["0.1.0", "0.2.0+gabc"]
    assert len({ticket.run_id for ticket in tickets}) == 1
    assert tickets[0].run_id == run_id(tickets[0].run, tickets[0].data_digest)
    parent = Path(corpus.uri).parent
    assert tickets[0].site == SiteConfig(corpus.uri, f"{parent}/runs", f"{parent}/others")


def test_a_corpus_that_changed_after_the_planning_is_refused_with_both_versions(tmp_path: Path):
    """Not where the run's own songs stayed: an addition comes behind them."""
    songs, out = [make_song(tmp_path, i) for i in range(24)], Store(str(tmp_path / "out"))
    before = shard_here(songs[:20], out, settings=SPLIT).manifest
    run = replace(RUN, data=replace(DATA, size=8))
    ticket = resolve(run, SiteConfig(corpus=out.uri, out=str(tmp_path)), before).ticket
    assert shard_here(songs, out, append=True, settings=SPLIT).manifest.version != before.version
    assert load_run(ticket).ticket == ticket
    after = take_down(out, [before.songs["key"][int(before.select("train")[3])].as_py()], "licence").manifest
    told = rf"changed after run {ticket.run_id} was planned \(version {before.version} then, {after.version} now\)"
    with pytest.raises(ValueError, match=f"{told}.*start the same command again, which plans anew"):
        load_run(ticket)
    again = resolve(run, ticket.site, read_manifest(out.uri)).ticket
    assert load_run(again).ticket.run_id != ticket.run_id
