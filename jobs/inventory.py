#!/usr/bin/env python
"""What lies in a store (sweeps, checkpoints, corpora and their versions), and its deletion.

python jobs/inventory.py store=s3://music                                   list all of it
python jobs/inventory.py store=s3://music at=sweep                          one sweep or corpus
python jobs/inventory.py store=s3://music at=sweep delete=checkpoints       what that would delete; yes=true does it

``delete`` is ``sweep``, ``checkpoints`` (of finished runs), ``corpus`` or ``version`` (an earlier one: version=ID).
"""

from __future__ import annotations

from dataclasses import dataclass

from _cli import place, run_job
from rich.console import Console
from rich.table import Table

from genrescale.data.store import Store
from genrescale.inventory import CorpusItem, SweepItem, deletion, find_items


@dataclass
class InventoryJob:
    store: str = "."
    at: str = ""
    delete: str = ""
    version: str = ""
    yes: bool = False


def megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB"


def show(items: list[CorpusItem | SweepItem], store: Store) -> Table:
    table = Table(title=f"{len(items)} sweeps and corpora in {store.uri}")
    for name in ("path", "kind", "holds", "size"):
        table.add_column(name, justify="right" if name == "size" else "left", overflow="fold")
    for item in items:
        if isinstance(item, CorpusItem):
            earlier = f", before it {', '.join(item.versions[1:])}" if item.versions[1:] else ""
            holds = f"{item.num_songs:,} songs, {item.num_tags} tags, {item.num_shards} shards; "
            table.add_row(item.path, "corpus", f"{holds}version {item.versions[0]}{earlier}", megabytes(item.num_bytes))
        else:
            other = f"; {item.num_other} finished runs of other plans" if item.num_other else ""
            checkpoints = megabytes(sum(item.checkpoint_bytes.values()))
            holds = f"{item.num_finished} of {item.num_planned} runs finished{other}; {checkpoints} of checkpoints"
            table.add_row(item.path, "sweep", holds, megabytes(item.num_bytes))
    return table


def main(job: InventoryJob) -> int:
    store = place("", job.store, "store")
    files = store.child(job.at) if job.at else store
    if not job.delete:
        Console(width=None).print(show(list(find_items(store, job.at)), store))
        return 0
    going = deletion(files, job.delete, job.version)
    what = (
        f"{going.num_files} files, {megabytes(going.num_bytes)} of {files.uri}: {', '.join(going.paths) or 'nothing'}"
    )
    if not job.yes:
        print(f"would delete {what}; add yes=true to do it")
        return 0
    going.run()
    print(f"deleted {what}")
    return 0


if __name__ == "__main__":
    run_job(InventoryJob, "inventory", main, __doc__)
