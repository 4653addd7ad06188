"""Describe a corpus in text: a few lines for the terminal, and notes on its limitations."""

from __future__ import annotations

from collections.abc import Sequence

from genrescale.data.manifest import Manifest
from genrescale.data.sharding.duplicates import find_duplicates
from genrescale.data.sharding.lengths import read_odd_lengths, sentence
from genrescale.describe.facts import imbalance, quarantine_reasons, shared_artists, split_facts, splits_of, tag_facts
from genrescale.display.text import count_text
from genrescale.storage.store import Store

_FEW_SONGS = 10
_SHOWN = 8


def describe_text(manifest: Manifest) -> str:
    """Describe the corpus in a few lines, for the terminal."""
    lines = [f"{manifest.uri}, version {manifest.version}: {count_text(len(manifest), 'song')}"]
    lines += [
        f"  {s.name}: {count_text(s.songs, 'song')}, {s.hours:.2f} hours, {count_text(s.artists, 'known artist')}"
        for s in split_facts(manifest)
    ]
    if spread := imbalance(tag_facts(manifest)):
        largest, smallest = spread.largest, spread.smallest
        lines.append(
            f"  tags: {len(manifest.vocabulary)}; most common {largest.tag.name} ({largest.total:,}), rarest "
            f"{smallest.tag.name} ({smallest.total:,}), as balanced as {spread.effective:.1f} equally common tags"
        )
    lines += [f"  note: {note}" for note in notes(manifest)]
    for reason in quarantine_reasons(Store(manifest.uri)):
        lines.append(f"  quarantined: {count_text(reason.songs, 'song')}, {reason.reason} (e.g. {reason.examples[0]})")
    return "\n".join(lines)


def notes(manifest: Manifest) -> list[str]:
    """List what a reader should know before training on the corpus."""
    texts, splits, tags = [], splits_of(manifest), tag_facts(manifest)
    spread, duplicates = imbalance(tags), find_duplicates(manifest)
    classify = [facts for facts in tags if facts.tag.kind == "classify"]
    for split in ("train", "validation", "test"):
        if split not in splits:
            texts.append(f"There is no {split} split.")
            continue
        absent = [facts.tag.name for facts in classify if not facts.by_split[splits.index(split)]]
        if absent:
            texts.append(f"{_have(absent, 'tag')} no {split} song: {listed(absent)}.")
    rare = [facts.tag.name for facts in classify if 0 < facts.by_split[0] < _FEW_SONGS] if splits[0] == "train" else []
    if rare:
        texts.append(f"{_have(rare, 'tag')} fewer than {_FEW_SONGS} train songs: {listed(rare)}.")
    if spread and spread.ratio > 100:
        texts.append(f"The most common tag has {spread.ratio:,.0f} times as many songs as the rarest.")
    for pair in shared_artists(manifest):
        if pair.artists:
            texts.append(f"{count_text(pair.artists, 'artist')} are in {pair.first} and in {pair.second}.")
    if across := [copies for copies in duplicates if copies.across_splits]:
        texts.append(f"{count_text(len(across), 'recording')} in more than one split, e.g. {across[0]}.")
    if excluded := sum(bool(reason) for reason in manifest.songs["excluded"].to_pylist()):
        texts.append(f"{count_text(excluded, 'song')} excluded, because another split holds the same audio.")
    if within := len(duplicates) - len(across):
        texts.append(f"{count_text(within, 'recording')} more than once in one split.")
    if odd := read_odd_lengths(manifest):
        texts.append(f"{sentence(odd)}.")
    return texts


def _have(names: Sequence[str], noun: str) -> str:
    return f"{count_text(len(names), noun)} {'has' if len(names) == 1 else 'have'}"


def listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
