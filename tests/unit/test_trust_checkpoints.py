"""A checkpoint that somebody else has touched is refused by name, and nothing in it is run, at every ZeRO stage."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.worlds import small_run

from genrescale.config import SiteConfig
from genrescale.data.manifest import Manifest
from genrescale.data.reading.source import local_stream
from genrescale.training.assemble import build_loop
from genrescale.training.checkpoint_files import CheckpointError, check_seal, seal
from genrescale.training.loop import TrainingLoop
from genrescale.training.select import select_data

pytestmark = pytest.mark.usefixtures("process_group")
# DeepSpeed's note of the newest checkpoint, which nobody reads; and the seal, which sealing writes anew
UNREAD = ("latest", "files-0.json")


class Payload:
    """Runs a command of the attacker when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._command = f"touch {mark}"

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self._command,)


def loop_of(corpus: Manifest, stage: int, checkpoints: Path | None = None) -> TrainingLoop:
    """A loop of the smallest run; one with ``checkpoints`` saves there after each validation."""
    run = small_run()
    data = select_data(run, corpus)

    def report(metrics: dict[str, float | None], save: Any) -> None:
        if checkpoints is not None and not checkpoints.exists():
            checkpoints.mkdir()
            save(checkpoints)

    site = SiteConfig(corpus=corpus.uri, out="/nowhere", zero_stage=stage)
    return build_loop(run, site, corpus.vocabulary, data.plan, report, data.class_counts_K)


@pytest.fixture(scope="module", params=[0, 1, 2, 3])
def saved(request: pytest.FixtureRequest, corpus: Manifest, tmp_path_factory: pytest.TempPathFactory):
    """An honest checkpoint of each ZeRO stage, and an untrained loop that may load it."""
    folder = tmp_path_factory.mktemp("stage") / "checkpoint"
    loop = loop_of(corpus, request.param, folder)
    data = select_data(small_run(), corpus)
    loop.train(local_stream(data.source(), data.plan.items(0, 1)))
    loop.engine.close()
    return folder, loop_of(corpus, request.param)


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_an_honest_checkpoint_loads_and_a_touched_one_is_refused(saved: tuple[Path, TrainingLoop], tmp_path: Path):
    folder, loop = saved
    loop.load(folder)
    assert loop.state.step > 0
    mark = tmp_path / "mark"
    for name in files_of(folder):
        for resealed in (False, True):
            for number, write in enumerate((pickle_raw, pickle_in_torch)):
                copy = tmp_path / f"{name.replace('/', '-')}-{resealed}-{number}"
                shutil.copytree(folder, copy)
                write(copy / name, Payload(mark))
                if resealed:  # a stranger who can write one file can write the list of digests, too
                    seal(copy, 0)
                if resealed and name in UNREAD:
                    loop.load(copy)
                else:
                    with pytest.raises(CheckpointError) as refused:
                        loop.load(copy)
                    assert len(str(refused.value).splitlines()) == 1
                    assert resealed or Path(name).name in str(refused.value)
                shutil.rmtree(copy)
                assert not mark.exists(), name
    loop.engine.close()


def pickle_raw(path: Path, payload: Payload) -> None:
    path.write_bytes(pickle.dumps(payload))


def pickle_in_torch(path: Path, payload: Payload) -> None:
    torch.save({"module": payload}, path)


def test_the_payload_would_run(tmp_path: Path):
    """What the test above plants does harm where it is loaded as PyTorch did before."""
    pickle_in_torch(tmp_path / "file", Payload(tmp_path / "mark"))
    torch.load(tmp_path / "file", weights_only=False)
    assert (tmp_path / "mark").exists()


def test_missing_and_additional_files_and_links_are_named(tmp_path: Path):
    folder = tmp_path / "checkpoint"
    (folder / "part").mkdir(parents=True)
    (folder / "part/a.pt").write_bytes(b"a")
    (folder / "b.json").write_bytes(b"b")
    seal(folder, 0)
    check_seal(folder, 1)
    with pytest.raises(CheckpointError, match=r"files-1\.json is missing"):
        check_seal(folder, 2)
    (folder / "c.pt").write_bytes(b"c")
    with pytest.raises(CheckpointError, match=r"files that were not written with it: c\.pt"):
        check_seal(folder, 1)
    (folder / "c.pt").unlink()
    (folder / "part/a.pt").rename(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"files are missing: part/a\.pt"):
        check_seal(folder, 1)
    (folder / "part/a.pt").symlink_to(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt is not a plain file"):
        check_seal(folder, 1)
