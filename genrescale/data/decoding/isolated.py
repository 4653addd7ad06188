"""One song decoded in a child process, with the same samples: for songs under suspicion of crashing the decoder.

A decoder that crashes or eats all memory takes its process along. In a child, with a limit to its memory and its time,
it takes only the child, and the song that did it has a name. Starting a child costs more than decoding,
so this is for the second attempt at a shard whose first one died, not for every song.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from genrescale.audio import PCM_DTYPE, Clip
from genrescale.data.decoding import watchdog
from genrescale.data.decoding.decode import DECODE_LIMIT_S, decode_pcm
from genrescale.data.decoding.decoders import MEMORY_LIMIT, DecodeError, memory_limit

START_LIMIT_S = 60.0
"""Seconds that a child may take besides decoding, on a machine that is busy."""
_REFUSED = 3


def decode_isolated(
    source: bytes | Path, name: str, min_s: float = 0.0, limit_s: float = DECODE_LIMIT_S, max_s: float = 0.0
) -> Clip:
    """``decode_pcm`` in a child process; its crash is a DecodeError too, a child that cannot run a ChildProcessError.

    The child may use MEMORY_LIMIT bytes of address space and 2 ``limit_s`` + START_LIMIT_S seconds of wall time, of
    which HANG_LIMIT_S for decoding.
    """
    if isinstance(source, Path):
        return Clip(name, _in_child(source, name, min_s, limit_s, max_s))
    with tempfile.NamedTemporaryFile(prefix="genrescale-") as file:
        file.write(source)
        file.flush()
        return Clip(name, _in_child(Path(file.name), name, min_s, limit_s, max_s))


def _in_child(path: Path, name: str, min_s: float, limit_s: float, max_s: float) -> np.ndarray:
    asked = json.dumps({"source": str(path), "name": name, "min_s": min_s, "limit_s": limit_s, "max_s": max_s})
    # -P and PYTHONPATH: the child finds the modules that this process found, and none in the folder that it runs in;
    # one thread: each further one reserves address space
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "genrescale.data.decoding.isolated"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, log = child.communicate(asked.encode(), timeout=2 * limit_s + START_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise DecodeError(name, f"decoding took more than {limit_s:g} s") from None
    finally:
        # too late, or this process is told to stop, or a hung child died: its own ffmpeg ends with it
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        if child.returncode is None:
            child.communicate()
    status = child.wait()
    if status == _REFUSED:
        raise DecodeError(name, out.decode(errors="replace"))
    if status == -signal.SIGALRM:
        raise DecodeError(name, f"decoding took more than {watchdog.HANG_LIMIT_S:g} s")
    if status < 0:
        raise DecodeError(name, f"the decoder crashed (signal {-status})")
    if status:
        message = log.decode(errors="replace").strip()
        raise ChildProcessError(f"{name}: the process of its decoder ended with {status}: {message[-1000:]}")
    return np.frombuffer(out, PCM_DTYPE)


def main() -> int:
    """The child: the song's address as JSON on stdin, PCM or the reason on stdout."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, memory_limit())
    asked = json.load(sys.stdin)
    watchdog.die_in_time()
    try:
        clip = decode_pcm(Path(asked.pop("source")), **asked)
    except DecodeError as error:
        sys.stdout.buffer.write(error.reason.encode(errors="replace"))
        return _REFUSED
    except MemoryError:
        sys.stdout.buffer.write(f"decoding took more than {MEMORY_LIMIT:,} bytes of memory".encode())
        return _REFUSED
    sys.stdout.buffer.write(clip.pcm_T.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
