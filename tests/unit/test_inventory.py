"""What lies in a store is found and described; a deletion takes what it says and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.small_study import finished_study
from helpers.sweeps import make_trial, write_run

from genrescale.config.corpus import ShardSettings, SynthesisConfig
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.sharding.synthetic import embedded_corpus
from genrescale.inventory import CorpusItem, SweepItem, deletion, find_items, format_items
from genrescale.results import read_results, write_planned
from genrescale.storage.store import Store

EARLIER = "0123456789ab"
PLAN = [make_trial("waveform", 100, seed) for seed in (0, 1)]


@pytest.fixture(params=["local", "bucket"])
def store(request: pytest.FixtureRequest, corpus: Manifest, tmp_path: Path) -> Store:
    """A corpus with an earlier version, and a sweep of which one run has finished; a folder or a (memory) bucket."""
    shutil.copytree(corpus.uri, tmp_path / "fma/shards")
    files = Store(str(tmp_path))
    files.write_bytes(f"fma/shards/manifest/{EARLIER}/songs.parquet", b"1234")
    files.write_bytes("fma/notes.txt", b"not ours")
    sweep = files.child("lab/sweep")
    write_planned(sweep, PLAN)
    write_run(sweep, PLAN[0])
    for trial in PLAN:
        sweep.write_bytes(f"checkpoints/{trial.run_id}/checkpoint_1/best.pt", b"12345678")
    sweep.write_bytes("report.html", b"page")
    if request.param == "local":
        return files
    bucket = Store(f"memory://{tmp_path.name}")
    for path in files.list():
        bucket.write_bytes(path, files.read_bytes(path))
    return bucket


def test_everything_is_found_and_described(store: Store, corpus: Manifest):
    shards, sweep = find_items(store)
    assert isinstance(shards, CorpusItem)
    assert (shards.path, shards.num_songs, shards.num_tags) == ("fma/shards", len(corpus), len(corpus.vocabulary))
    assert shards.versions == (corpus.version, EARLIER)
    assert shards.num_shards == corpus.shards.num_rows
    assert shards.num_bytes > sum(corpus.shards["num_bytes"].to_pylist())
    assert isinstance(sweep, SweepItem)
    assert (sweep.path, sweep.planned) == ("lab/sweep", {trial.run_id for trial in PLAN})
    assert sweep.finished == {PLAN[0].run_id}
    assert sweep.checkpoint_bytes == {trial.run_id: 8 for trial in PLAN}


def test_checkpoints_of_finished_runs_go_and_an_unfinished_runs_stays(store: Store):
    sweep = store.child("lab/sweep")
    going = deletion(sweep, "checkpoints")
    assert (going.paths, going.num_files, going.num_bytes) == ((f"checkpoints/{PLAN[0].run_id}",), 1, 8)
    before = set(store.list())
    assert len(sweep.list("checkpoints")) == 2  # nothing yet
    going.run()
    assert before - set(store.list()) == {f"lab/sweep/checkpoints/{PLAN[0].run_id}/checkpoint_1/best.pt"}
    assert set(read_results(sweep)) == {PLAN[0].run_id}


def test_an_earlier_version_goes_and_the_corpus_stays(store: Store, corpus: Manifest):
    files = store.child("fma/shards")
    with pytest.raises(ValueError, match="is the current version"):
        deletion(files, "version", corpus.version)
    with pytest.raises(ValueError, match="version='nothing' is none of"):
        deletion(files, "version", "nothing")
    before = set(store.list())
    deletion(files, "version", EARLIER).run()
    assert before - set(store.list()) == {f"fma/shards/manifest/{EARLIER}/songs.parquet"}
    assert read_manifest(files.uri).version == corpus.version


@pytest.mark.parametrize(("at", "what"), [("fma/shards", "corpus"), ("lab/sweep", "sweep")])
def test_a_corpus_or_sweep_goes_whole_and_alone(store: Store, at: str, what: str):
    before = set(store.list())
    deletion(store.child(at), what).run()
    assert before - set(store.list()) == {path for path in before if path.startswith(f"{at}/")}


def test_what_a_study_leaves_goes_with_its_runs(tmp_path: Path, corpus: Manifest):
    plan = finished_study(corpus, tmp_path)
    files = Store(str(tmp_path))
    assert {"study.html", "tables/one.csv", "figures/scaling.png", "report.html"} <= set(files.list())
    files.write_bytes("songs.html", b"clips of songs")
    deletion(files, "sweep").run()
    assert files.list() == []
    assert plan.trials


def test_a_deletion_that_was_cut_off_is_done_again(store: Store):
    for at, what in (("fma/shards", "corpus"), ("lab/sweep", "sweep")):
        going = deletion(store.child(at), what)
        for path in going.paths[:-1]:
            store.child(at).delete(*going.names[path])
        assert at in [item.path for item in find_items(store)]
        deletion(store.child(at), what).run()
    assert list(find_items(store)) == []
    assert store.list() == ["fma/notes.txt"]


def test_a_begun_corpus_is_listed_and_another_programs_manifest_is_not(store: Store):
    store.child("fma/shards").delete("manifest.json")
    store.write_bytes("fma/shards/plan.parquet", b"begun")
    store.write_bytes("app/manifest.json", b'{"name": "web app"}')
    store.write_bytes("other/manifest.json", b"not json")
    begun, _ = find_items(store)
    assert isinstance(begun, CorpusItem)
    assert begun.versions == ()


def test_rows_of_another_version_are_runs_too(store: Store):
    sweep = store.child("lab/sweep")
    sweep.write_bytes(f"runs/{PLAN[1].run_id}/result.json", b'{"run_id": "old"}')
    _, item = find_items(store)
    assert isinstance(item, SweepItem)
    assert len(item.finished) == 2
    with pytest.raises(ValueError, match=f"{PLAN[1].run_id}/result.json: this result row has no schema number"):
        read_results(sweep)


def test_a_deletion_of_what_is_not_there_is_refused(store: Store):
    for at, what in (("fma/shards", "sweep"), ("lab/sweep", "corpus"), ("fma", "corpus")):
        with pytest.raises(ValueError, match=r"is not a (corpus|sweep)"):
            deletion(store.child(at), what)
    with pytest.raises(ValueError, match="delete='all' is none of"):
        deletion(store.child("lab/sweep"), "all")
    with pytest.raises(ValueError, match=r"delete the corpus \(delete=corpus\)"):
        deletion(store.child("fma/shards"), "version", read_manifest(store.child("fma/shards").uri).version)


@pytest.fixture
def embedded(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A sweep that made its own songs, as ``embedded_corpus`` leaves them, and was evaluated; a note of somebody's."""
    out = store.child("demo")

    def synthesize(folder: Store, config: SynthesisConfig) -> None:
        for name in ("songs/0000/song-0.mp3", "songs.parquet", "vocabulary.json", "synthesis.json"):
            folder.write_bytes(name, b"123")

    def shard(*_: object) -> None:
        for name in store.child("fma/shards").list():
            out.child("shards").write_bytes(name, store.child("fma/shards").read_bytes(name))

    monkeypatch.setattr("genrescale.data.sharding.synthetic.synthesize_corpus", synthesize)
    monkeypatch.setattr("genrescale.data.sharding.synthetic.list_songs", lambda *_: ([], None))
    monkeypatch.setattr("genrescale.data.sharding.synthetic.fix_plan", lambda *_: None)
    monkeypatch.setattr("genrescale.data.sharding.synthetic.write_corpus", shard)
    embedded_corpus(out, SynthesisConfig(songs=1), ShardSettings())
    write_planned(out, PLAN)
    write_run(out, PLAN[0])
    out.write_bytes("evaluations/waveform-100/metrics.csv", b"x")
    out.write_bytes("audio/notes.txt", b"not ours")
    return store


def test_a_sweep_goes_with_the_songs_that_it_made_and_its_corpus_is_an_item_of_its_own(embedded: Store):
    found = {item.path: item for item in find_items(embedded) if item.path.startswith("demo")}
    sweep = found["demo"]
    assert isinstance(sweep, SweepItem)
    assert sweep.song_bytes == 12
    assert isinstance(found["demo/shards"], CorpusItem)
    going = deletion(embedded.child("demo"), "sweep")
    assert (going.num_bytes, sweep.num_bytes) == (sweep.num_bytes, going.num_bytes)
    going.run()
    left = {path for path in embedded.list("demo") if not path.startswith("demo/shards/")}
    assert left == {"demo/audio/notes.txt"}
    assert [item.path for item in find_items(embedded) if item.path.startswith("demo")] == ["demo/shards"]
    deletion(embedded.child("demo/shards"), "corpus").run()
    assert embedded.list("demo") == ["demo/audio/notes.txt"]


def test_a_killed_synthesis_is_listed_and_songs_that_were_made_alone_are_left_alone(embedded: Store):
    demo = embedded.child("demo")
    for name in ("sweep.json", "runs", "evaluations"):
        demo.delete(*demo.list(name))
    demo.child("shards").delete(*demo.child("shards").list())
    assert "demo" in [item.path for item in find_items(embedded)]
    deletion(demo, "sweep").run()
    assert demo.list() == ["audio/notes.txt"]
    for path in ("synthesis.json", "songs.parquet"):  # as jobs/synthesize_corpus.py out=lab/sweep/audio leaves them
        embedded.write_bytes(f"lab/sweep/audio/{path}", b'{"seed": 0}')
    deletion(embedded.child("lab/sweep"), "sweep").run()
    assert embedded.list("lab") == ["lab/sweep/audio/songs.parquet", "lab/sweep/audio/synthesis.json"]


def test_an_unfinished_run_without_a_sweep_is_listed_and_its_checkpoints_go_by_name(store: Store):
    runs, other = store.child("runs_of_train"), store.child("other")
    for name in ("a" * 12, "b" * 12):
        runs.write_bytes(f"checkpoints/{name}/checkpoint_1/best.pt", b"1234")
    other.write_bytes("checkpoints/somebodys/model.pt", b"1234")
    items = [item for item in find_items(store) if item.path in ("runs_of_train", "other")]
    assert [(item.path, getattr(item, "num_bytes", None)) for item in items] == [("runs_of_train", 8)]
    assert "0 of 2 runs finished, no sweep was planned" in format_items(items, store.uri, runs=True)
    assert deletion(runs, "checkpoints").paths == ()  # unfinished runs continue from theirs
    deletion(runs, "checkpoints", run="a" * 12).run()
    assert runs.list() == [f"checkpoints/{'b' * 12}/checkpoint_1/best.pt"]
    with pytest.raises(ValueError, match="run=aaaaaaaaaaaa has no checkpoints in"):
        deletion(runs, "checkpoints", run="a" * 12)
    with pytest.raises(ValueError, match="works with delete=checkpoints only"):
        deletion(runs, "sweep", run="b" * 12)
    deletion(runs, "sweep").run()
    assert runs.list() == []


def test_a_local_folder_that_a_deletion_emptied_goes_too(tmp_path: Path):
    files = Store(str(tmp_path / "lab"))
    write_planned(files, PLAN)
    write_run(files, PLAN[0])
    deletion(files, "sweep").run()
    assert list(tmp_path.iterdir()) == []
