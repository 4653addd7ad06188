"""Check a store by what jobs do there: put, get, list, write if absent, delete; and its clock."""

from __future__ import annotations

import email.utils
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import replace

from genrescale.addresses import public_address
from genrescale.doctor.finding import Finding, fault, ok, warning
from genrescale.storage.retry import Patience
from genrescale.storage.store import Store

_IMPATIENT = Patience(budget_s=5.0, first_pause_s=0.5, longest_pause_s=2.0)
SKEW_S, REFUSED_S = 30.0, 300.0
"""A clock that is wrong by more is a warning, and a fault: S3 refuses signatures from 15 minutes on."""
_TIMEOUT_S = 10
_NOT_AT_ONCE = "never run two jobs on one corpus or sweep at once, or take a store that honours If-None-Match"
_SET_CLOCK = "set this machine's clock by NTP (timedatectl set-ntp true; chronyc makestep)"


def check_rights(store: Store) -> Iterable[Finding]:
    """Put, get, list, write if absent, and delete a file of a new name, ``doctor/HEX.json``."""
    files, name = replace(store, patience=_IMPATIENT), f"doctor/{secrets.token_hex(8)}.json"
    data, leads = secrets.token_hex(32).encode(), "jobs cannot work there without it"
    where = public_address(store.uri)
    if (folder := store.local_path()) is not None and not folder.exists():
        yield warning("store", f"{where} does not exist; jobs would make it", "see whether its name is right")
        return

    def tried(right: str, act: Callable[[], object], expected: object, mend: str) -> Finding:
        try:
            given = act()
        except (ValueError, OSError) as error:
            return fault(f"store {right}", f"{where}: {error}", f"{mend}; {leads}")
        if given != expected:
            return fault(f"store {right}", f"{where}: the answer is not what was written", f"{mend}; {leads}")
        return ok(f"store {right}", where)

    put = tried("put", lambda: files.write_bytes(name, data), None, "give these keys s3:PutObject on the prefix")
    yield put
    if put.state != "ok":
        return
    yield tried("get", lambda: files.read_bytes(name), data, "give these keys s3:GetObject on the prefix")
    listed = tried("list", lambda: name in files.list("doctor"), True, "give these keys s3:ListBucket on the bucket")
    yield listed
    absent = tried("if absent", lambda: files.write_if(name, data[::-1], None), False, _NOT_AT_ONCE)
    yield absent if absent.state == "ok" else warning(absent.check, f"{where} overwrites", _NOT_AT_ONCE)
    deleted = tried("delete", lambda: files.delete(name), None, "give these keys s3:DeleteObject on the prefix")
    if deleted.state == listed.state == "ok" and name in files.list("doctor"):
        deleted = fault("store delete", f"{where}: {name} is still there", "see the bucket's object lock")
    elif deleted.state != "ok":
        deleted = replace(deleted, found=f"{deleted.found}; {name} stays there")
    yield deleted


def endpoint_of(uri: str) -> str | None:
    """The web address of the server that holds a bucket; None for what is no bucket of S3."""
    if not uri.startswith("s3://"):
        return None
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    own = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return own or f"https://s3.{region}.amazonaws.com"


def check_clock(endpoint: str) -> Iterable[Finding]:
    """This machine's clock beside that of a server, by the header Date of an answer, whatever else it says."""
    request = urllib.request.Request(endpoint, method="HEAD")
    began = time.time()
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            date = answer.headers["Date"]
    except urllib.error.HTTPError as error:  # it refuses a request without keys, and says when
        date = error.headers["Date"]
    except OSError as error:
        yield fault("store clock", f"{endpoint} does not answer ({error})", "see AWS_ENDPOINT_URL and the network")
        return
    middle = (began + time.time()) / 2
    if date is None:
        yield warning("store clock", f"{endpoint} does not tell its time", "see by hand that both clocks agree")
        return
    # the header has whole seconds, cut off
    yield clock_finding("store clock", middle - (email.utils.parsedate_to_datetime(date).timestamp() + 0.5), endpoint)


def clock_finding(check: str, ahead_s: float, of: str) -> Finding:
    """A clock that is ``ahead_s`` seconds ahead of that ``of`` something."""
    found = f"{abs(ahead_s):.1f} s {'ahead of' if ahead_s >= 0 else 'behind'} {of}"
    if abs(ahead_s) > REFUSED_S:
        return fault(check, found, _SET_CLOCK)
    if abs(ahead_s) > SKEW_S:
        return warning(check, found, _SET_CLOCK)
    return ok(check, found)
