"""Read from an HTTP server, never more than was asked for, whatever size it states and however much it sends."""

from __future__ import annotations

from typing import Any, cast

from fsspec.asyn import sync

_CHUNK_BYTES = 1 << 20
_PARTIAL, _BEHIND_THE_END = 206, 416


def read_http(fs: Any, url: str, length: int, offset: int | None = None) -> bytes:
    """Read at most ``length`` bytes of the file at ``url``, from ``offset`` if that is given.

    With an offset a range is requested. If the server ignores it and sends the file from its start, the bytes before
    the offset are skipped. The connection is closed after ``length`` bytes. Raises FileNotFoundError or the client's
    own error.
    """
    return cast(bytes, sync(fs.loop, _read, fs, url, length, offset))


async def _read(fs: Any, url: str, length: int, offset: int | None) -> bytes:
    if length <= 0:
        return b""
    session, options = await fs.set_session(), dict(fs.kwargs)
    headers = {**options.pop("headers", {}), "Accept-Encoding": "identity"}
    if offset is not None:
        headers["Range"] = f"bytes={offset}-{offset + length - 1}"
    parts, left = [], length
    async with session.get(fs.encode_url(url), headers=headers, **options) as answer:
        if offset is not None and answer.status == _BEHIND_THE_END:
            return b""
        fs._raise_not_found_for_status(answer, url)
        skip = 0 if answer.status == _PARTIAL else offset or 0
        async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
            data = chunk[skip : skip + left]
            skip -= min(skip, len(chunk))
            left -= len(data)
            parts.append(data)
            if not left:
                break
    return b"".join(parts)
