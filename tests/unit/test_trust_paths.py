"""No path from a stranger leads out of a store, and nothing is deleted that genrescale did not write."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray.train._internal.storage import get_fs_and_path

from genrescale.data.manifest import PAGE_PATH, Manifest, located, read_manifest
from genrescale.data.quarantine import QUARANTINE_PATH
from genrescale.data.reading.shard_cache import FOLDER, ShardCache
from genrescale.data.sharding import job
from genrescale.data.summary import MANIFEST_PATH
from genrescale.data.upkeep.take_down import take_down
from genrescale.describe.reading import DescribeSettings, choose_loudness, hear_shard, plan_reads
from genrescale.inventory import CORPUS_FILES, REPORTS, UnreadItem, deletion, find_items, format_items
from genrescale.results import PLANNED_PATH
from genrescale.storage.errors import OutsideError, StoreError
from genrescale.storage.names import is_ours, is_part
from genrescale.storage.parquet import table_bytes
from genrescale.storage.store import Store

RUN = "0123456789ab"
OUTSIDE = [
    "../secret",
    "a/../../secret",
    "..",
    "/etc/passwd",
    "s3://other/secret",
    "file:///etc/passwd",
    "a\0b",
    "a\nb",
]
METHODS: dict[str, Callable[[Store, str], object]] = {
    "child": Store.child,
    "local_path": Store.local_path,
    "exists": Store.exists,
    "size": Store.size,
    "list": Store.list,
    "sizes": Store.sizes,
    "folders": Store.folders,
    "files": Store.files,
    "read_bytes": Store.read_bytes,
    "read_at_most": lambda store, path: store.read_at_most(path, 10),
    "read_range": lambda store, path: store.read_range(path, 0, 10),
    "opened": Store.opened,
    "download": lambda store, path: store.download(path, Path(os.devnull)),
    "read_version": Store.read_version,
    "age_s": Store.age_s,
    "write_if": lambda store, path: store.write_if(path, b"", None),
    "write_bytes": lambda store, path: store.write_bytes(path, b""),
    "whole_file": lambda store, path: store.whole_file(path).__enter__(),
    "delete": Store.delete,
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_method_that_takes_a_path_is_tried():
    public = {name: method for name, method in vars(Store).items() if not name.startswith("_") and callable(method)}
    takes_path = {n for n, m in public.items() if {"path", "paths", "prefix"} & set(inspect.signature(m).parameters)}
    assert takes_path - {"read_ranges"} == set(METHODS)


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_path_that_leads_out_is_refused_by_name(tmp_path: Path, method: str, path: str, place: str):
    (tmp_path / "secret").write_bytes(b"secret")
    root = str(tmp_path / "store") if place == "folder" else f"memory://{uuid.uuid4().hex}"
    Store(root).write_bytes("a/b", b"1")
    with pytest.raises(OutsideError, match=re.escape(root)):
        METHODS[method](Store(root), path)
    assert (tmp_path / "secret").read_bytes() == b"secret"


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"write_bytes", "whole_file", "delete"}))
def test_a_symbolic_link_out_of_the_root_is_refused_and_where_it_leads_is_said(tmp_path: Path, method: str):
    store = Store(str(tmp_path / "store"))
    store.write_bytes("shards/x", b"1")
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/secret").write_bytes(b"secret")
    (tmp_path / "store/linked").symlink_to(tmp_path / "victim")
    (tmp_path / "store/file").symlink_to(tmp_path / "victim/secret")
    for path in ("linked", "linked/secret", "file"):
        with pytest.raises(OutsideError, match=f"leads out of {store.uri} by a symbolic link, to {tmp_path}/victim"):
            METHODS[method](store, path)


def test_a_link_that_stays_inside_and_one_that_is_the_root_are_followed(tmp_path: Path):
    store = Store(str(tmp_path / "store"))
    store.write_bytes("shards/x", b"1")
    (tmp_path / "store/again").symlink_to(tmp_path / "store/shards")
    (tmp_path / "root").symlink_to(tmp_path / "store")
    assert store.read_bytes("again/x") == b"1"
    assert Store(str(tmp_path / "root")).read_bytes("shards/x") == b"1"


def test_a_link_in_the_place_of_a_file_is_replaced_or_deleted_itself(tmp_path: Path):
    (tmp_path / "victim").write_bytes(b"secret")
    store = Store(str(tmp_path / "store"))
    for path in ("report.html", "table.csv"):
        store.write_bytes(path, b"old")
        (tmp_path / "store" / path).unlink()
        (tmp_path / "store" / path).symlink_to(tmp_path / "victim")
    store.write_bytes("report.html", b"new")
    store.delete("table.csv")
    assert contents(tmp_path) == {"victim": b"secret", "store/report.html": b"new"}
    (tmp_path / "store/runs").symlink_to(tmp_path)
    with pytest.raises(OutsideError, match="symbolic link"):
        store.write_bytes(f"runs/{RUN}/result.json", b"1")
    with pytest.raises(OutsideError, match="symbolic link"):
        store.delete(f"runs/{RUN}/result.json")


def test_a_pipe_in_the_place_of_a_file_is_refused_without_waiting(tmp_path: Path):
    os.mkfifo(tmp_path / "manifest.json")
    for read in (Store.read_bytes, Store.opened):
        with pytest.raises(OutsideError, match=r"manifest\.json is not a plain file"):
            read(Store(str(tmp_path)), "manifest.json")


@pytest.mark.parametrize("uri", ["simplecache::s3://music", "zip://a::s3://music/b.zip", "ftp://host", "nobody://x"])
def test_only_known_kinds_of_stores_are_opened_and_none_inside_of_another(uri: str):
    with pytest.raises(ValueError, match=f"{re.escape(uri)} does not begin with one of file://, s3://"):
        Store(uri)


def test_a_folder_with_two_colons_is_that_folder(tmp_path: Path):
    for name in ("Rock", "Rock::2024 Live", "live::set", "memory::x"):
        Store(f"{tmp_path}/{name}").write_bytes("song.txt", name.encode())
    for name in ("Rock", "Rock::2024 Live", "live::set", "memory::x"):
        assert (tmp_path / name / "song.txt").read_bytes() == name.encode()
        assert Store(str(tmp_path)).child(name).read_bytes("song.txt") == name.encode()


OURS = (
    *(
        "manifest.json",
        "plan.parquet",
        "describe.html",
        "shards/train-000000.tar",
        "shards/test-g012-000003.index.parquet",
    ),
    *(f"manifest/{RUN}/songs.parquet", f"manifest/{RUN}/shards.{RUN}.parquet", f"manifest/{RUN}/checksums.npy"),
    *(f"runs/{RUN}/result.json", f"checkpoints/{RUN}/checkpoint_1/a/b", "tune/trials/x", "evaluations/a b/map.png"),
    *("report.html", "sweep.json", "audio/songs/0000/song-0000001.flac", "shards/.train-000000.tar.0123abcd.part"),
)
FOREIGN = (
    *("", ".", "shards", "notes.txt", "shards/notes.txt", "shards/train-000000.tar.bak", "x/shards/train-000000.tar"),
    *(
        "manifest",
        "manifest/mine/songs.parquet",
        "runs",
        "runs/mine/model.safetensors",
        "checkpoints/somebodys/model.pt",
    ),
    *(f"checkpoints/{RUN}", "song.part", ".song.mp3.0123abcd.part", "shards/.notes.0123abcd.part", "audio/song.mp3"),
    *("songs/0000/song-0000001.flac", "evaluations/notes.txt", "shards/*.tar", "shards/train-??????.tar"),
)


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_only_names_that_genrescale_gives_are_deleted(tmp_path: Path, place: str):
    store = Store(str(tmp_path) if place == "folder" else f"memory://{uuid.uuid4().hex}")
    for path in OURS:
        store.write_bytes(path, b"ours")
    kept = [path for path in FOREIGN if path not in ("", ".") and not any(o.startswith(f"{path}/") for o in OURS)]
    for path in kept:
        store.write_bytes(path, b"theirs")
    for path in FOREIGN:
        with pytest.raises(OutsideError, match="is not deleted: genrescale does not write files of that name"):
            store.delete(*OURS, path)  # and nothing else of the same call
    store.delete(*OURS)
    assert store.list() == sorted(kept)


def test_every_name_that_the_package_writes_is_one_of_its_names():
    for path in (*CORPUS_FILES, *REPORTS, PLANNED_PATH, QUARANTINE_PATH, PAGE_PATH, MANIFEST_PATH):
        assert is_ours(path) != (path in ("shards", "manifest", "features")), path


def test_a_name_with_wildcards_is_a_name(tmp_path: Path):
    root = f"memory://{uuid.uuid4().hex}"
    for name in ("FMA 2", "FMA [2]", "FMA *"):
        for path in ("describe.html", "manifest.json", "shards/train-000000.tar"):
            Store(f"{root}/{name}").write_bytes(path, name.encode())
    for name in ("FMA [2]", "FMA *"):
        Store(f"{root}/{name}").delete("describe.html", "shards/train-000000.tar")
        assert Store(f"{root}/{name}").list() == ["manifest.json"]
    assert Store(f"{root}/FMA 2").list() == ["describe.html", "manifest.json", "shards/train-000000.tar"]


@pytest.mark.parametrize("name", ["FMA [2]", "a b", "Música", "a%20b#c?d", "A::B", "R&B", "100 %"])
def test_ray_writes_to_the_place_that_the_store_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody is asked
    bucket, folder = Store(f"s3://music/{name}"), Store(str(tmp_path / name))
    assert get_fs_and_path(bucket.ray_path())[1] == f"music/{name}"
    assert get_fs_and_path(folder.ray_path())[1] == f"{tmp_path}/{name}"


def test_inventory_takes_no_folder_for_a_run(tmp_path: Path):
    victim, sweep = Store(str(tmp_path / "victim")), Store(str(tmp_path / "lab/sweep"))
    victim.write_bytes("precious", b"1")
    sweep.write_bytes(f"checkpoints/{RUN}/best.pt", b"1")
    for run in ("../../../victim", "/victim", "x", "0" * 13):
        with pytest.raises(ValueError, match=r"is no run's id, which has 12 of the digits"):
            deletion(sweep, "checkpoints", run=run)
    assert victim.list() == ["precious"]


def test_inventory_leaves_and_names_what_somebody_else_put_into_its_folders(tmp_path: Path):
    sweep = Store(str(tmp_path / "sweep"))
    theirs = ["audio/songs/my song.mp3", "runs/mine/model.safetensors", "checkpoints/somebodys/model.pt"]
    for path in (f"runs/{RUN}/result.json", f"checkpoints/{RUN}/best.pt", "synthesis.json", *theirs):
        sweep.write_bytes(path, b'{"synthesis": {}, "shards": {}}')
    going = deletion(sweep, "sweep")
    assert sorted(going.kept) == sorted(theirs)
    going.run()
    assert sweep.list() == sorted(theirs)


def test_inventory_follows_no_link_and_lists_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "1000")  # no sentence is broken into lines
    store = Store(str(tmp_path / "store"))
    Store(str(tmp_path / "victim")).write_bytes(f"{RUN}/best.pt", b"1")
    store.write_bytes("a/plan.parquet", b"begun")
    store.write_bytes(f"b/checkpoints/{RUN}/best.pt", b"1")
    (tmp_path / "store/c").mkdir()
    (tmp_path / "store/c/checkpoints").symlink_to(tmp_path / "victim")
    items = {item.path: item for item in find_items(store)}
    assert set(items) == {"a", "b", "c"}
    assert isinstance(items["c"], UnreadItem)
    assert "symbolic link" in format_items(list(items.values()), store.uri)
    with pytest.raises(OutsideError, match="symbolic link"):
        deletion(store.child("c"), "sweep")
    assert (tmp_path / "victim" / RUN / "best.pt").exists()


def test_names_in_the_inventory_are_no_markup_and_send_nothing_to_the_terminal(tmp_path: Path):
    store = Store(str(tmp_path))
    for name in ("[bold]x[/nope]", "a\x1b[2Jb", "c\u202ed"):
        Path(tmp_path, name).mkdir(parents=True)
        Path(tmp_path, name, "plan.parquet").write_bytes(b"begun")
    text = format_items(list(find_items(store)), store.uri)
    assert "[bold]x[/nope]" in text
    assert r"a\x1b[2Jb" in text
    assert r"c\u202ed" in text
    assert text.replace("\n", "").isprintable()


def change_manifest(manifest: Manifest, change: Callable[[dict], None]) -> None:
    path = Path(manifest.uri, MANIFEST_PATH)
    summary = json.loads(path.read_text())
    change(summary)
    path.write_text(json.dumps(summary))


def rename_shard(manifest: Manifest, name: str) -> None:
    """Give the first shard another name in the manifest, with the SHA-256 of the table that says so."""

    def change(summary: dict) -> None:
        table = next(path for path in summary["tables"] if "shards" in path)
        names = manifest.shards["name"].to_pylist()
        shards = manifest.shards.set_column(0, "name", [[name, *names[1:]]])
        data = table_bytes(shards)
        Path(manifest.uri, table).write_bytes(data)
        summary["tables"][table] = hashlib.sha256(data).hexdigest()

    change_manifest(manifest, change)


def refused(uri: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read_manifest(uri)
    assert MANIFEST_PATH in str(caught.value) or "shards.parquet" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../other/shards/train-000000.tar", "/etc/passwd", "shards/../../x.tar", "shards/x.tar"]
)
def test_a_manifest_names_only_shards_of_its_own_corpus(copy: Manifest, name: str):
    rename_shard(copy, name)
    refused(copy.uri, f"the shard '{re.escape(name)}' does not have a name that genrescale gives")
    with pytest.raises(ValueError, match="does not have a name that genrescale gives"):
        take_down(Store(copy.uri), [copy.songs["key"][0].as_py()], "asked")


def test_a_takedown_and_a_page_touch_no_file_beside_the_corpus_even_without_that_check(
    copy: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    other = tmp_path / "other/shards"
    other.mkdir(parents=True)
    (other / "train-000000.tar").write_bytes(Path(copy.uri, copy.shard_name(0)).read_bytes())
    rename_shard(copy, "../other/shards/train-000000.tar")
    monkeypatch.setattr("genrescale.data.manifest.check_shards", lambda *_: None)
    manifest, before = read_manifest(copy.uri), contents(other)
    for read in plan_reads(manifest, choose_loudness(manifest, DescribeSettings()), [], DescribeSettings()):
        if read.name.startswith(".."):
            with pytest.raises(OutsideError, match="leads out of"):
                hear_shard(read)
    with pytest.raises(ValueError, match="leads out of"):
        take_down(Store(copy.uri), [manifest.songs["key"][0].as_py()], "asked")
    assert contents(other) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.update(version="../../x"), "version '../../x' is not one that genrescale writes"),
        (lambda s: s.update(version=7), "version '7' is not one"),
        (
            lambda s: s.update(tables={"../other/songs.parquet": "0" * 64, "/etc/passwd": "0" * 64}),
            "the files .* are not",
        ),
        (
            lambda s: s.update(checksums={"../checksums.npy": "0" * 64}),
            "the files .* are not those that genrescale writes",
        ),
        (lambda s: s.pop("settings"), "is not a manifest that this version reads"),
        (lambda s: s.update(vocabulary=[]), "is not a manifest that this version reads"),
        (lambda s: s.update(num_songs=3), "names 3 songs, its table has 19"),
        (
            lambda s: s["settings"].update(parts=[{"uri": "relative", "first_shard": 0}]),
            "'relative' is not a whole address",
        ),
        (lambda s: s["settings"].update(parts=[{"uri": "ftp://x", "first_shard": 0}]), "does not begin with one of"),
        (lambda s: s["settings"].update(parts=[{"uri": "/x", "first_shard": 3}]), "do not start with shard 0"),
        (
            lambda s: s["settings"].update(parts=[{"uri": "/x", "first_shard": 0}]),
            "does not have a name that genrescale gives",
        ),
    ],
)
def test_a_manifest_that_names_what_it_may_not_is_refused(copy: Manifest, change: Callable[[dict], None], words: str):
    change_manifest(copy, change)
    with pytest.raises(ValueError, match=words):
        read_manifest(copy.uri)


def test_a_mix_in_a_bucket_names_no_folder_of_this_machine(copy: Manifest):
    bucket = Store(f"memory://{uuid.uuid4().hex}")
    change_manifest(copy, lambda s: s["settings"].update(parts=[{"uri": "/somebody", "first_shard": 0}]))
    for path in Store(copy.uri).list():
        bucket.write_bytes(path, Store(copy.uri).read_bytes(path))
    with pytest.raises(ValueError, match=f"{bucket.uri} cannot mix /somebody, which is in another kind of store"):
        read_manifest(bucket.uri)


def test_a_shard_of_a_mix_lies_in_the_part_that_it_names(copy: Manifest, tmp_path: Path):
    store, name = located(Store("/mix"), f"{tmp_path}/corpus/shards/../../secret.tar")
    with pytest.raises(OutsideError, match="leads out of"):
        store.read_bytes(name)


def test_a_shard_that_is_a_link_out_of_the_corpus_is_refused(copy: Manifest, tmp_path: Path):
    (tmp_path / "secret").write_bytes(b"secret")
    shard = Path(copy.uri, copy.shard_name(0))
    shard.unlink()
    shard.symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="symbolic link"):
        take_down(Store(copy.uri), [copy.songs["key"][int(copy.shard_rows(0)[0])].as_py()], "asked")
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_a_sharding_deletes_no_part_but_its_own(tmp_path: Path):
    out = Store(str(tmp_path))
    theirs = ["download.part", ".cache.part", "shards/.notes.0123abcd.part", "a/.train-000000.tar.0123abcd.part"]
    ours = ["shards/.train-000000.tar.0123abcd.part", ".plan.parquet.0123abcd.part"]
    for path in (*theirs, *ours):
        out.write_bytes(path, b"1")
    assert [path for path in out.list() if is_part(path)] == sorted(ours)
    job._remove_parts(out)
    assert out.list() == sorted(theirs)


def test_the_shard_cache_deletes_only_what_it_fetched(tmp_path: Path):
    bucket = Store(f"memory://{uuid.uuid4().hex}")
    for i in range(3):
        bucket.write_bytes(f"shards/train-00000{i}.tar", bytes(1000))
    theirs = [tmp_path / "backup.tar", tmp_path / "x-0123456789abcdef.tar", tmp_path / FOLDER / "backup.tar"]
    (tmp_path / FOLDER).mkdir()
    for path in theirs:
        path.write_bytes(bytes(5000))
        os.utime(path, (0, 0))
    cache = ShardCache(str(tmp_path), 2000)
    for i in range(3):
        cache.fetch(bucket, f"shards/train-00000{i}.tar")
    assert [cache.has(bucket, f"shards/train-00000{i}.tar") for i in range(3)] == [False, True, True]
    assert all(path.stat().st_size == 5000 for path in theirs)


def test_a_shard_cache_that_another_user_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bucket = Store(f"memory://{uuid.uuid4().hex}")
    bucket.write_bytes("shards/train-000000.tar", bytes(1000))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=f"{FOLDER} is not a folder of this user"):
        ShardCache(str(tmp_path), 5000).fetch(bucket, "shards/train-000000.tar")
    (tmp_path / FOLDER).unlink()
    (tmp_path / FOLDER).mkdir()
    monkeypatch.setattr(sys.modules["genrescale.data.reading.shard_cache"].os, "getuid", lambda: 12345)
    with pytest.raises(StoreError, match=f"{FOLDER} is not a folder of this user"):
        ShardCache(str(tmp_path), 5000).fetch(bucket, "shards/train-000000.tar")


def test_a_damaged_table_is_still_one_sentence(copy: Manifest):
    """The SHA-256 is right, the table is not: somebody wrote both."""
    path = next(path for path in json.loads(Path(copy.uri, MANIFEST_PATH).read_text())["tables"] if "shards" in path)
    pq.write_table(copy.shards.drop_columns(["sha256"]), Path(copy.uri, path))
    data = Path(copy.uri, path).read_bytes()
    change_manifest(copy, lambda s: s["tables"].update({path: hashlib.sha256(data).hexdigest()}))
    refused(copy.uri, "shards.parquet has no column sha256")
