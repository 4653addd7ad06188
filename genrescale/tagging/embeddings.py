"""Write embeddings while songs are tagged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from genrescale.results.embeddings import embedding_writer
from genrescale.storage.store import Store
from genrescale.tagging.output import file_at
from genrescale.tagging.scores import SongTags, Untagged


def keep_embeddings(results: Iterable[SongTags | Untagged], out: Store | None) -> Iterator[SongTags | Untagged]:
    """Pass results through and write the embeddings of tagged songs to the file ``out``, which appears at the end."""
    if out is None:
        yield from results
        return
    with file_at(out) as file, embedding_writer(file) as add:
        for result in results:
            if isinstance(result, SongTags) and result.embedding_D is not None:
                add(result.song, result.embedding_D)
            yield result
