"""Addresses as they may be stored and shown: without credentials and query strings.

A table may name songs by presigned URLs or with a password in the address. Such an address is kept in memory, where the
song is fetched; files, logs and messages get its public part.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

# of a bounded length: without a bound, a text of 100 kB without any address takes minutes
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s'\"<>]+")
_QUERY_IN_TEXT = re.compile(r"(?<=[?&])[\w.%-]+=[^&\s'\"<>)]*")
_ROW_OF_PARQUET = re.compile(r"#[^#?]+/\d+$")
_KEY_OF_BUCKET = re.compile(r"[^?]*(?:\?(?![\w.-]+=)[^?]*)*")  # a name may hold a question mark, not ?name=value
_CREDENTIALS = re.compile(
    r"x-(amz|goog|ms)-.*|awsaccesskeyid|googleaccessid|key-pair-id|policy|expires|(url)?sig(nature)?|hdn(ea|ts)"
    r"|(\w+_)?(token|api_?key|secret)|auth|password|s[vteprs]|s(pr|ip|rt)|sk(oid|tid|[tesv])",
    re.IGNORECASE,
)
"""Parameters that sign a URL (S3, Google, Azure, CloudFront, Akamai) or carry a key: they do not tell songs apart."""


def public_address(address: str) -> str:
    """An address without user, password, query and fragment; a path of this machine as it is.

    ``FILE.parquet#COLUMN/ROW`` keeps its row, and the name of an object in a bucket its question marks.
    """
    scheme, separator, rest = address.partition("://")
    if not separator or scheme.lower() == "file" or scheme.startswith("/"):
        return address
    host, slash, path = rest.partition("/")
    if scheme.lower() == "s3":
        kept = _KEY_OF_BUCKET.match(path)
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{kept[0] if kept else ''}"
    row = _ROW_OF_PARQUET.search(path)
    host = re.split(r"[?#]", host, maxsplit=1)[0].rpartition("@")[2]
    path = re.split(r"[?#]", path, maxsplit=1)[0]
    return f"{scheme}://{host}{slash}{path}{row[0] if row and path.endswith('.parquet') else ''}"


def scrubbed(text: str) -> str:
    """A message with every address in it as ``public_address`` says, and without the values of other queries."""
    text = _URL_IN_TEXT.sub(lambda found: public_address(found[0]), text)
    return _QUERY_IN_TEXT.sub("...", text)


def identity(address: str) -> str:
    """What tells a song's address from others: its public part, and the query without what signs or unlocks it."""
    public = public_address(address)
    if public == address or address.lower().startswith("s3://"):
        return public
    query = address.partition("?")[2].partition("#")[0]
    kept = [(name, value) for name, value in parse_qsl(query, True) if not _CREDENTIALS.fullmatch(name)]
    return public + "".join(f"{'&' if i else '?'}{name}={value}" for i, (name, value) in enumerate(kept))
