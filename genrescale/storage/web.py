"""Files on web servers whose addresses strangers chose: public servers only, and no more than is asked for.

The address that a connection is made to is checked, which holds for names that change their answer and after every
redirect. Internal ones (this machine, private and link-local networks, the metadata of clouds) are refused, unless
``internal`` allows them. Compressed answers are unpacked up to the limit, whatever the server says of its size.
"""

from __future__ import annotations

import ipaddress
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import IO, TYPE_CHECKING, Any, cast

from genrescale.addresses import public_address
from genrescale.storage.errors import StoreError
from genrescale.storage.retry import is_passing, is_passing_status

if TYPE_CHECKING:
    from aiohttp import ClientSession

WEB = ("http://", "https://")
_CONNECT_S, _SILENT_S, _WHOLE_S = 10.0, 30.0, 300.0
_PACKED = ("gzip", "x-gzip", "deflate")
_HEADERS = {"Accept-Encoding": "identity"}
_HOLDING_IPV4 = ("::/96", "64:ff9b::/96", "64:ff9b:1::/48")  # in the last 32 bits; the two others are NAT64


class InternalAddressError(OSError):
    """A connection to an internal address was refused."""


class RefusedFileError(ValueError):
    """A file that a server does not give, or not in a form that can be used; trying again changes nothing."""


def read_url(url: str, limit: int, internal: bool = False) -> bytes:
    """The first ``limit`` bytes of a file.

    Raises FileNotFoundError where the server has none, RefusedFileError for an internal address and for an answer that
    cannot be used, StoreError where the server cannot be reached, fails or is too slow.
    """
    from fsspec.asyn import sync

    files = _files(internal)
    with _explained(url):
        return cast(bytes, sync(files.loop, _read, files, url, limit))


@contextmanager
def opened_url(url: str, internal: bool = False) -> Iterator[IO[bytes]]:
    """A file to read parts of, by requests for ranges; raises what ``read_url`` raises."""
    with _explained(url), _files(internal).open(url, "rb") as file:
        yield file


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet, also where it stands for an IPv4 address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped or found.sixtofour:
            return is_public(str(found.ipv4_mapped or found.sixtofour))
        if any(found in ipaddress.ip_network(network) for network in _HOLDING_IPV4):
            return is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
        if found.is_site_local:
            return False
    return found.is_global and not found.is_multicast


def _files(internal: bool) -> Any:
    """fsspec's file system, which is one for each process and keeps its connections."""
    import fsspec  # and aiohttp below: they take a moment to import, and few songs are on web servers

    return fsspec.filesystem("http", get_client=_any_client if internal else _public_client)


async def _public_client(loop: Any = None, **options: Any) -> ClientSession:
    return _client(partial(_socket, internal=False))


async def _any_client(loop: Any = None, **options: Any) -> ClientSession:
    return _client(partial(_socket, internal=True))


def _client(socket_factory: Any) -> ClientSession:
    from aiohttp import ClientSession, ClientTimeout, TCPConnector

    timeout = ClientTimeout(total=_WHOLE_S, sock_connect=_CONNECT_S, sock_read=_SILENT_S)
    return ClientSession(connector=TCPConnector(socket_factory=socket_factory), timeout=timeout, auto_decompress=False)


def _socket(place: tuple[Any, ...], internal: bool) -> socket.socket:
    """The socket of a connection to ``place`` (an entry of ``getaddrinfo``), before it is connected."""
    family, kind, protocol, _, address = place
    if not internal and not is_public(str(address[0])):
        raise InternalAddressError("its server has an internal address; allow_internal_urls=true allows that")
    return socket.socket(family=family, type=kind, proto=protocol)


async def _read(files: Any, url: str, limit: int) -> bytes:
    session = await files.set_session()
    async with session.get(files.encode_url(url), headers=_HEADERS) as response:
        response.raise_for_status()
        packed = _unpacker(response.headers.get("Content-Encoding", "identity").lower())
        parts, left = [], limit
        async for data in response.content.iter_any():
            parts.append(packed.decompress(data, left) if packed else data[:left])
            left -= len(parts[-1])
            if not left or (packed and packed.eof):
                break
        return b"".join(parts)


def _unpacker(encoding: str) -> Any:
    """zlib's object that unpacks an answer in parts, None for one that is not compressed."""
    if encoding == "identity":
        return None
    if encoding not in _PACKED:
        raise RefusedFileError(f"its server sends it in the encoding {encoding[:20]!r}")
    return zlib.decompressobj(zlib.MAX_WBITS | 32)


@contextmanager
def _explained(url: str) -> Iterator[None]:
    """The errors of fsspec and aiohttp as those of ``read_url``."""
    try:
        yield
    except (StoreError, RefusedFileError):
        raise
    except Exception as error:
        where = public_address(url)
        if isinstance(error, FileNotFoundError):  # fsspec says that of every error that it meets first
            error = error.__cause__ or error
        status = 0 if error.__cause__ else getattr(error, "status", 0)  # with a cause: no answer that can be parsed
        if (refused := _internal(error)) is not None:
            raise RefusedFileError(str(refused)) from None
        if isinstance(error, FileNotFoundError) or (400 <= status < 500 and not is_passing_status(status)):
            raise FileNotFoundError(f"{where} does not exist") from None
        if is_passing(error) or is_passing_status(status):
            raise StoreError(f"{where} cannot be read ({str(error) or type(error).__name__})") from None
        raise RefusedFileError(f"it cannot be read ({type(error).__name__}: {error})") from None


def _internal(error: BaseException | None) -> InternalAddressError | None:
    while error is not None and not isinstance(error, InternalAddressError):
        error = error.__cause__
    return error
