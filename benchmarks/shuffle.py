"""How well loaders shuffle: ours and the peers over the same stored order, against a full shuffle.

Songs are stored by label, 64 to a shard. Over one epoch:
  places     rank correlation of the place in the epoch with the stored place (0 is best)
  runs       stretches of songs of one label, as a share of what a full shuffle has (1 is best)
  batches    spread of a label's count in batches of 32, against a full shuffle's (1 is best: batches are alike)
  distance   how far apart neighbours of the epoch were stored, against a full shuffle (1 is best)

python benchmarks/shuffle.py songs=12800 labels=10

Peers come with ``uv pip install -e .[peers]``; one that is not installed is left out.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from _stream_songs import module  # noqa: E402

SONGS_PER_SHARD, BATCH, BUFFER = 64, 32, 256


def full_shuffle(num_songs: int, folder: Path) -> np.ndarray:
    return np.random.default_rng(1).permutation(num_songs)


def ours_uniform(num_songs: int, folder: Path) -> np.ndarray:
    from genrescale.data.reading.samplers import Uniform

    return Uniform(num_songs).draw(np.random.default_rng(2))


def ours_windows(shards: int) -> Callable[[int, Path], np.ndarray]:
    def order(num_songs: int, folder: Path) -> np.ndarray:
        from genrescale.data.reading.samplers import Windows

        windows = Windows(np.arange(num_songs) // SONGS_PER_SHARD, shards, BATCH, 1)
        return windows.draw(np.random.default_rng(3))

    return order


def webdataset(num_songs: int, folder: Path) -> np.ndarray:
    wds = module("webdataset")
    shards = []
    for start in range(0, num_songs, SONGS_PER_SHARD):
        shards.append(str(folder / f"{start:06d}.tar"))
        with wds.TarWriter(shards[-1]) as tar:
            for i in range(start, min(num_songs, start + SONGS_PER_SHARD)):
                tar.write({"__key__": f"{i:06d}", "id": str(i).encode()})
    data = wds.WebDataset(shards, shardshuffle=len(shards), seed=4).shuffle(BUFFER)
    return np.array([int(sample["id"]) for sample in data])


def mosaicml_streaming(num_songs: int, folder: Path) -> np.ndarray:
    streaming = module("streaming")
    with streaming.MDSWriter(out=str(folder), columns={"id": "int"}, size_limit=64 * 12) as out:
        for i in range(num_songs):
            out.write({"id": i})
    data = streaming.StreamingDataset(local=str(folder), shuffle=True, shuffle_seed=5, batch_size=BATCH)
    return np.array([sample["id"] for sample in data])


def litdata(num_songs: int, folder: Path) -> np.ndarray:
    lit = module("litdata")
    writer = module("litdata.streaming.writer").BinaryWriter(str(folder), chunk_size=SONGS_PER_SHARD)
    for i in range(num_songs):
        writer.add_item(i, {"id": i})
    writer.done()
    writer.merge()
    data = lit.StreamingDataset(str(folder), shuffle=True, seed=6)
    return np.array([int(sample["id"]) for sample in data])


def lhotse_shar(num_songs: int, folder: Path) -> np.ndarray:
    lhotse, shar = module("lhotse"), module("lhotse.shar")
    make = module("lhotse.testing.dummies").dummy_cut
    with shar.SharWriter(str(folder), {}, shard_size=SONGS_PER_SHARD) as out:
        for i in range(num_songs):
            out.write(make(i))
    paths = sorted(map(str, folder.glob("cuts.*.jsonl.gz")))
    cuts = lhotse.CutSet.from_shar({"cuts": paths}, shuffle_shards=True, seed=7).shuffle(buffer_size=BUFFER)
    return np.array([int(cut.id.rsplit("-", 1)[-1]) for cut in cuts])


READERS: dict[str, Callable[[int, Path], np.ndarray]] = {
    "full_shuffle": full_shuffle,
    "ours_uniform": ours_uniform,
    **{f"ours_windows_{shards}": ours_windows(shards) for shards in (1, 8, 32)},
    "webdataset": webdataset,
    "mosaicml_streaming": mosaicml_streaming,
    "litdata": litdata,
    "lhotse_shar": lhotse_shar,
}
NEEDS = {"mosaicml_streaming": "streaming", "litdata": "litdata", "lhotse_shar": "lhotse"}


def quality(order_N: np.ndarray, num_labels: int) -> dict[str, float]:
    """The four measures of one epoch, not yet against a full shuffle."""
    num_songs = len(order_N)
    label_N = order_N * num_labels // num_songs
    batches = label_N[: num_songs // BATCH * BATCH].reshape(-1, BATCH)
    counts = np.stack([(batches == label).sum(axis=1) for label in range(num_labels)])
    correlation: Any = spearmanr(order_N, np.arange(num_songs))
    return {
        "places": abs(float(correlation.statistic)),
        "runs": 1.0 + int((np.diff(label_N) != 0).sum()),
        "batches": float(counts.std(axis=1).mean()),
        "distance": float(np.median(np.abs(np.diff(order_N)))),
    }


def measured(name: str, num_songs: int, num_labels: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        order_N = READERS[name](num_songs, Path(folder))
    assert sorted(order_N.tolist()) == list(range(num_songs)), f"{name} lost or repeated songs"
    return quality(order_N, num_labels)


def in_a_process(name: str, settings: dict[str, str]) -> dict[str, float] | str:
    """A reader in a process of its own: peers start servers and threads."""
    command = [sys.executable, __file__, f"reader={name}", *(f"{key}={value}" for key, value in settings.items())]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600)
    return json.loads(ran.stdout.splitlines()[-1]) if ran.returncode == 0 else ran.stderr.strip().splitlines()[-1]


def main() -> None:
    given: dict[str, Any] = dict(argument.split("=", 1) for argument in sys.argv[1:])
    settings = {"songs": "12800", "labels": "10"} | given
    reader = settings.pop("reader", "")
    if reader:
        print(json.dumps(measured(reader, int(settings["songs"]), int(settings["labels"]))))
        return
    names = [name for name in READERS if importlib.util.find_spec(NEEDS.get(name, "numpy")) is not None]
    found = {name: in_a_process(name, settings) for name in names}
    full = found["full_shuffle"]
    assert not isinstance(full, str), full
    figures: dict[str, float] = {}
    print(f"{'':22s}" + "".join(f"{measure:>10s}" for measure in full))
    for name, values in found.items():
        if isinstance(values, str):
            print(f"{name:22s}  failed: {values}")
            continue
        against = {key: value if key == "places" else value / full[key] for key, value in values.items()}
        print(f"{name:22s}" + "".join(f"{value:10.3f}" for value in against.values()))
        figures |= {f"{name}_{key}": round(value, 4) for key, value in against.items()}
    print(json.dumps({"benchmark": "shuffle", "figures": figures}))


if __name__ == "__main__":
    main()
