#!/usr/bin/env python
"""What lies in a store (sweeps, checkpoints, corpora and their versions), and its deletion.

python jobs/inventory.py store=s3://music                                   list all of it
python jobs/inventory.py store=s3://music at=sweep                          one sweep or corpus
python jobs/inventory.py store=s3://music at=sweep delete=checkpoints       what that would delete; yes=true does it

``delete`` is ``sweep`` (with the songs that it synthesised; its corpus, in shards/, stays: at=sweep/shards
delete=corpus), ``checkpoints`` (of finished runs, or of one that was given up: run=ID), ``corpus`` or ``version`` (an
earlier one: version=ID).
"""

from __future__ import annotations

from dataclasses import dataclass

from _cli import place, run_job

from genrescale.telemetry.terminal import say


@dataclass
class InventoryJob:
    store: str = "."
    at: str = ""
    delete: str = ""
    version: str = ""
    run: str = ""
    yes: bool = False


def main(job: InventoryJob) -> int:
    from genrescale.inventory import deletion, find_items, format_items, megabytes

    store = place("", job.store, "store")
    files = store.child(job.at) if job.at else store
    if not job.delete:
        if job.yes:
            raise ValueError("yes=true has no effect without delete=")
        items = list(find_items(store, job.at))
        if not items:
            raise ValueError(f"{files.uri} holds no sweep and no corpus")
        say(format_items(items, files.uri, runs=bool(job.at)))
        return 0
    going = deletion(files, job.delete, job.version, job.run)
    what = (
        f"{going.num_files} files, {megabytes(going.num_bytes)} of {files.uri}: {', '.join(going.paths) or 'nothing'}"
    )
    if going.kept:
        what += f" ({len(going.kept)} files that genrescale did not write stay, the first is {going.kept[0]})"
    if not job.yes:
        say(f"would delete {what}; add yes=true to do it")
        return 0
    going.run()
    say(f"deleted {what}")
    return 0


if __name__ == "__main__":
    run_job(InventoryJob, "inventory", main, __doc__)
