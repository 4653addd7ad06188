"""Combine score tables by averaging or voting: over runs (an ensemble), or over the clips of a song.

A vote returns scores, so its result is evaluated and stored like that of a run. Voting methods (VOTES):

- ``soft``: the mean of the probabilities (the ensembles of MediaEval 2020; the song scores of most papers).
- ``hard``: for exclusive tags, every voter votes for its highest tag (of equal ones the first), and the score is the
  tag's share of votes. Otherwise every voter votes for each tag with a probability of at least 1/2. Ties remain ties.
- ``soft_on_ties``: hard, with ties broken by soft (the GTZAN project's 82.18 %: three clips a song, soft only if they
  vote for three genres). The score is (votes + mean) / (voters + 1): the mean counts less than one vote, so it cannot
  move a tag past one with more votes. For a single tag the score is at least 1/2 exactly if the tag has won.

A regress tag is always averaged. Shapes: N songs, K tags, n ballots (a voter's scores of one song).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from genrescale.audio import Vocabulary
from genrescale.results import ScoreTable, read_scores, run_folder
from genrescale.storage.store import Store

VOTES = ("soft", "hard", "soft_on_ties")


def vote(song_n: np.ndarray, score_nK: np.ndarray, vocabulary: Vocabulary, how: str = "soft") -> np.ndarray:
    """Compute the scores (N, K) of songs from ballots. ``song_n`` is the song of each ballot, 0 to N - 1.

    Scores are probabilities. Raises ValueError for an unknown method, for scores outside [0, 1], and for a song without
    ballots.
    """
    if how not in VOTES:
        raise ValueError(f"vote {how!r} is none of {list(VOTES)}")
    if score_nK.shape != (len(song_n), len(vocabulary)):
        raise ValueError(f"{len(song_n)} ballots of {len(vocabulary)} tags were expected; scores are {score_nK.shape}")
    if not ((score_nK >= 0) & (score_nK <= 1)).all():
        raise ValueError("scores to be combined must be probabilities, from 0 to 1")
    voters_N = np.bincount(song_n)
    if not voters_N.all():
        raise ValueError(f"song {int(voters_N.argmin())} of {len(voters_N)} has no ballot")
    mean_NK = _sums(song_n, score_nK) / voters_N[:, None]
    if how == "soft":
        return mean_NK
    if vocabulary.exclusive:
        ballot_nK = np.eye(len(vocabulary))[score_nK.argmax(axis=1)]
    else:
        ballot_nK = (score_nK >= 0.5).astype(float)
    votes_NK = _sums(song_n, ballot_nK)
    if how == "hard":
        voted_NK = votes_NK / voters_N[:, None]
    else:
        voted_NK = (votes_NK + mean_NK) / (voters_N[:, None] + 1)
    return np.where(vocabulary.regress_K, mean_NK, voted_NK)


def _sums(song_n: np.ndarray, value_nK: np.ndarray) -> np.ndarray:
    order_n = np.argsort(song_n, kind="stable")
    first_N = np.searchsorted(song_n[order_n], np.arange(song_n.max() + 1))
    return np.add.reduceat(value_nK[order_n].astype(np.float64), first_N, axis=0)


def read_runs(files: Store, run_ids: Sequence[str]) -> dict[str, tuple[ScoreTable, list[str]]]:
    """Read the score tables and tag names of finished runs. Raises ValueError, naming it, for a run without one."""
    paths = {run_id: f"{run_folder(run_id)}/scores.parquet" for run_id in run_ids}
    if absent := [run_id for run_id, path in paths.items() if not files.exists(path)]:
        raise ValueError(f"{files.uri} has no scores of {', '.join(absent)}: no such run, or it is not finished")
    return {run_id: read_scores(files, path) for run_id, path in paths.items()}


def same_songs(runs: Mapping[str, tuple[ScoreTable, Sequence[str]]]) -> dict[str, ScoreTable]:
    """Return the runs' tables with their songs in the order of the first table.

    Raises ValueError, naming the run and the difference, if a run has other songs, tags (or another order of tags) or
    labels than the first.
    """
    if not runs:
        raise ValueError("no run is given")
    (first, (model, names)), *others = runs.items()
    aligned = {first: model}
    place = {key: i for i, key in enumerate(model.keys)}
    for run_id, (table, run_names) in others:
        if list(run_names) != list(names):
            different = sorted(set(run_names) ^ set(names)) or "in another order"
            raise ValueError(f"run {run_id} and run {first} have different tags: {different}")
        if different := sorted(set(table.keys) ^ set(place)):
            raise ValueError(
                f"run {run_id} and run {first} were scored on different songs: {len(different)} are in one only, "
                f"such as {', '.join(different[:3])}"
            )
        order = np.empty(len(place), np.int64)
        order[[place[key] for key in table.keys]] = np.arange(len(place))
        reordered = take(table, order)
        if (wrong_NK := reordered.true_NK != model.true_NK).any():
            song, tag = np.argwhere(wrong_NK)[0]
            raise ValueError(
                f"run {run_id} and run {first} have different labels: song {model.keys[song]}, tag {names[tag]}"
            )
        aligned[run_id] = reordered
    return aligned


def take(table: ScoreTable, rows: np.ndarray) -> ScoreTable:
    """Select songs of a table, in the order of ``rows``."""
    return ScoreTable(
        keys=[table.keys[i] for i in rows],
        num_windows=[table.num_windows[i] for i in rows],
        padded=[table.padded[i] for i in rows],
        true_NK=table.true_NK[rows],
        score_NK=table.score_NK[rows],
    )


def combine_runs(
    runs: Mapping[str, tuple[ScoreTable, Sequence[str]]], vocabulary: Vocabulary, how: str = "soft"
) -> ScoreTable:
    """Combine finished runs into an ensemble, each run one voter. ``num_windows`` counts the windows of all runs.

    Raises ValueError as ``same_songs`` and ``vote`` do, and if the tags are not those of the vocabulary.
    """
    tables = list(same_songs(runs).values())
    names = next(iter(runs.values()))[1]
    if list(names) != vocabulary.names:
        raise ValueError(f"the runs' tags {list(names)[:5]}... are not those of the vocabulary")
    num_songs = len(tables[0].keys)
    return ScoreTable(
        keys=tables[0].keys,
        num_windows=np.sum([table.num_windows for table in tables], axis=0).tolist(),
        padded=np.any([table.padded for table in tables], axis=0).tolist(),
        true_NK=tables[0].true_NK,
        score_NK=vote(
            np.tile(np.arange(num_songs), len(tables)),
            np.concatenate([table.score_NK for table in tables]),
            vocabulary,
            how,
        ),
    )


def combine_clips(
    clips: ScoreTable, song_of: Mapping[str, str], vocabulary: Vocabulary, how: str = "soft"
) -> ScoreTable:
    """Combine a table of clips into one of songs, each clip (or window) one voter.

    ``song_of`` maps a clip's key to its song's key. Songs are ordered by their first clips. Raises ValueError for clips
    without a song, for clips of one song with different labels, and as ``vote`` does.
    """
    if orphans := [key for key in clips.keys if key not in song_of]:
        raise ValueError(f"{len(orphans)} clips have no song, such as {', '.join(orphans[:3])}")
    place = {song: i for i, song in enumerate(dict.fromkeys(song_of[key] for key in clips.keys))}
    song_n = np.array([place[song_of[key]] for key in clips.keys])
    first_N = np.unique(song_n, return_index=True)[1]
    wrong_n = (clips.true_NK != clips.true_NK[first_N[song_n]]).any(axis=1)
    if wrong_n.any():
        clip = int(wrong_n.argmax())
        raise ValueError(
            f"clips {clips.keys[first_N[song_n[clip]]]} and {clips.keys[clip]} are of one song but have other labels"
        )
    return ScoreTable(
        keys=list(place),
        num_windows=np.bincount(song_n, weights=clips.num_windows).astype(int).tolist(),
        padded=(np.bincount(song_n, weights=clips.padded) > 0).tolist(),
        true_NK=clips.true_NK[first_N],
        score_NK=vote(song_n, clips.score_NK, vocabulary, how),
    )
