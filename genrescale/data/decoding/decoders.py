"""The two decoders, libsndfile and ffmpeg, each in a process of its own for every song. Only ``decode.py`` uses them.

Both get the song as an opened file on standard input, and write float32 at 16 kHz. ffmpeg may open nothing else: it
knows the protocol ``fd`` only, and of all its formats those of AUDIO_FORMATS. It reads the opened file, not a pipe:
from a pipe it can neither trim the padding at an MP3's end (its result is up to 2 frames longer) nor open an M4A whose
index lies at its end. It has the protocol since version 6.0.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

import ffmpeg
import imageio_ffmpeg
import numpy as np

from genrescale.addresses import scrubbed
from genrescale.audio import PCM_DTYPE, SAMPLE_RATE
from genrescale.data.decoding.content import CANCELLED, CANCELS, disguise, found_in
from genrescale.data.decoding.isolated import Decoding, Request, library_path, running

MAX_SONG_S = 2 * 3600.0
"""No more of a song is held in memory (230 MB at this length): longer ones are refused, or an excerpt is taken."""
MEMORY_LIMIT = 4 << 30
"""Bytes of address space for each decoder; a sane file needs less than 1 GB."""
AUDIO_FORMATS = (
    *("aac", "ac3", "aiff", "amr", "ape", "asf", "au", "avi", "caf", "dsf", "dts", "eac3", "flac", "flv", "iff"),
    *("loas", "matroska", "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "ogg", "oma", "rm", "tak", "truehd", "tta"),
    *("voc", "w64", "wav", "wv", "xwma"),
)
"""What ffmpeg may take a song for. No playlist, manifest or script: those name other files, which ffmpeg would open."""
PCM_PEAK = 32768.0
_FLOAT_BYTES = 4
_REFUSED, _LEFT_TO_FFMPEG = 3, 4  # of sndfile.py, which this process does not import: it loads libsndfile
_INPUT = "fd:"
_LOOK_S, _LOOK_DB = 10, -60
_LOSSLESS = re.compile(
    rb"RIF[FX]|RF64|riff\x2e|FORM|\.snd|caff|wvpk|TTA1|MAC |tBaK|fLaC|alac|lpcm|sowt|twos|A_PCM|A_TTA|A_WAVPACK"
)
"""Marks of files that keep samples as they were, so that a bitstream would still be one."""
_MARKED_BYTES = 1 << 16
DAMAGED = "it is damaged in places, which its decoder passed over"
_COMPLAINT = re.compile(r"^\[.*libmpg123/(?!id3).*error", re.MULTILINE)
_QUIET_MIX = 0.14
"""A mix below this share of full scale (-17 dB) may be of channels that cancel each other; a look tells."""
_AFTERMATH = re.compile(r"Task finished with error code|Terminating thread with return code|^Conversion failed")
"""Lines that ffmpeg writes after the one that says why."""
_LOUDEST = 1000.0
"""Times full scale: samples beyond are no sound in floating point, but whole numbers."""
_MAX_REASON = 300


class DecodeError(ValueError):
    """A file that gives no usable audio; says which file and why, without credentials."""

    def __init__(self, name: str, reason: str) -> None:
        name, reason = scrubbed(name), scrubbed(reason)
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason

    def __reduce__(self) -> tuple[type[DecodeError], tuple[str, str]]:
        return DecodeError, (self.name, self.reason)


@dataclass(frozen=True)
class Decoded:
    """The samples of a song, and the notes CANCELS and DAMAGED where they are due."""

    pcm_T: np.ndarray
    notes: tuple[str, ...] = ()


@cache
def ffmpeg_exe() -> str:
    """The ffmpeg of PATH where it can read an opened file (6.0 and later), else the one that imageio-ffmpeg carries."""
    found = shutil.which("ffmpeg")
    if found and re.search(r"^\s*fd$", _answer(found, "-hide_banner", "-protocols"), re.MULTILINE):
        return found
    return imageio_ffmpeg.get_ffmpeg_exe()


@cache
def decoder_versions() -> str:
    """The decoders of this machine: other versions may give other samples."""
    ffmpeg_version = re.match(r"ffmpeg version (\S+)", _answer(ffmpeg_exe(), "-version"))
    libraries = ", ".join(f"{name} {version(name)}" for name in ("soundfile", "soxr"))
    return f"ffmpeg {ffmpeg_version[1] if ffmpeg_version else 'of an unknown version'}, {libraries}"


def decode_with_sndfile(file: int, name: str, limit_s: float, excerpt: bool = False) -> Decoded | None:
    """libsndfile's samples of an open file, or None where ffmpeg has to try.

    With ``excerpt``, a file longer than MAX_SONG_S is left to ffmpeg. Raises DecodeError where libsndfile refuses,
    crashes or takes more than ``limit_s``.
    """
    request = Request(limit_s, MEMORY_LIMIT, longest_s=MAX_SONG_S, excerpt=excerpt)
    parts = [np.empty(0, PCM_DTYPE)]
    with running(request, file) as decoding:
        parts += _pcm_blocks(decoding, name, whole=False)
    if decoding.reply.late:
        raise DecodeError(name, f"decoding took more than {limit_s:g} s")
    if (status := decoding.reply.status) == _LEFT_TO_FFMPEG:
        return None
    if status == _REFUSED:
        raise DecodeError(name, _printable(decoding.log))
    if status:
        crash = f"the decoder crashed (signal {-status})"
        raise DecodeError(name, crash if status < 0 else f"decoding failed: {_printable(decoding.log)}")
    notes = {CANCELS: CANCELS in decoding.log.splitlines(), DAMAGED: bool(_COMPLAINT.search(decoding.log))}
    return Decoded(np.concatenate(parts), tuple(note for note, is_due in notes.items() if is_due))


def decode_with_ffmpeg(file: int, name: str, limit_s: float, max_len: int = 0) -> Decoded:
    """ffmpeg's samples of an open file. Raises DecodeError with ffmpeg's reason where it refuses.

    Of a file longer than MAX_SONG_S a second is more than that, enough to know; where ``max_len`` is not 0, its middle
    ``max_len`` samples: a first pass counts all samples, a second one keeps those.
    """
    longest, logs = int(MAX_SONG_S * SAMPLE_RATE), list[str]()
    parts, total = [np.empty(0, PCM_DTYPE)], 0
    for pcm_T in _stream(file, name, limit_s, bool(max_len), logs):
        total += len(pcm_T)
        if max_len and total > longest:
            parts.clear()
        else:
            parts.append(pcm_T)
    damaged = (DAMAGED,) if any(logs) else ()
    if not max_len or total <= longest:
        pcm_T = np.concatenate(parts)
        return Decoded(pcm_T, (*((CANCELS,) if _cancels(pcm_T, file, limit_s) else ()), *damaged))
    start, at, parts = (total - max_len) // 2, 0, []
    with closing(_stream(file, name, limit_s, whole=True, logs=logs)) as blocks:
        for pcm_T in blocks:
            if at + len(pcm_T) > start:  # an empty slice of the others would hold them
                parts.append(pcm_T[max(0, start - at) : start + max_len - at])
            at += len(pcm_T)
            if at >= start + max_len:
                break
    return Decoded(np.concatenate(parts), damaged)


def refuse_bitstream(file: int, name: str, limit_s: float) -> None:
    """Raise DecodeError where ffmpeg takes a bitstream for samples. Lossy formats, which hold none, are not decoded."""
    size = os.fstat(file).st_size
    marks = os.pread(file, _MARKED_BYTES, 0) + os.pread(file, _MARKED_BYTES, max(0, size - _MARKED_BYTES))
    if not _LOSSLESS.search(marks):
        return
    with running(Request(limit_s, MEMORY_LIMIT, tuple(_look_arguments())), file) as decoding:
        data = b"".join(decoding.blocks())
    words_TC = np.frombuffer(data, "<i2", len(data) // 4 * 2).reshape(-1, 2)  # of any number of channels
    if content := found_in(words_TC.astype(np.int32) << 16, 2):
        raise DecodeError(name, disguise(content))


def _cancels(pcm_T: np.ndarray, file: int, limit_s: float) -> bool:
    """Whether a mix is quiet because the channels cancel each other, as far as the first loud seconds tell."""
    if len(pcm_T) and float(np.square(pcm_T, dtype=np.float32).mean()) > (_QUIET_MIX * PCM_PEAK) ** 2:
        return False
    with running(Request(limit_s, MEMORY_LIMIT, tuple(_look_arguments(channels=2))), file) as decoding:
        data = b"".join(decoding.blocks())
    wave_TC = np.frombuffer(data, "<i2", len(data) // 4 * 2).reshape(-1, 2).astype(np.float32)
    mix_T = wave_TC.mean(axis=1)
    return float(np.vdot(mix_T, mix_T)) < CANCELLED**2 * float(np.vdot(wave_TC, wave_TC)) / 2


def _stream(file: int, name: str, limit_s: float, whole: bool, logs: list[str]) -> Generator[np.ndarray, None, None]:
    """ffmpeg's int16 samples in blocks, not of the ``whole`` file only those of MAX_SONG_S + 1 s.

    Its messages are added to ``logs``.
    """
    request = Request(limit_s, MEMORY_LIMIT, tuple(_arguments(whole)))
    with running(request, file) as decoding:
        yield from _pcm_blocks(decoding, name, whole)
    if decoding.reply.late:
        raise DecodeError(name, f"decoding took more than {limit_s:g} s")
    if decoding.reply.status:
        raise DecodeError(name, _reason(decoding.log, decoding.reply.status))
    logs.append(decoding.log)


def _pcm_blocks(decoding: Decoding, name: str, whole: bool) -> Generator[np.ndarray, None, None]:
    """What a decoder writes, as int16. Half a sample at the end (the decoder was ended) is dropped.

    Where not the ``whole`` file is wanted, a decoder stops by itself 1 s after MAX_SONG_S. One that goes on for another
    second is refused.
    """
    left, rest = int((MAX_SONG_S + 2) * SAMPLE_RATE), b""
    for data in decoding.blocks():
        data = rest + data if rest else data
        num_samples = len(data) // _FLOAT_BYTES
        rest = data[num_samples * _FLOAT_BYTES :]
        yield _to_pcm(np.frombuffer(data, "<f4", num_samples), name)
        left -= num_samples
        if left <= 0 and not whole:
            raise DecodeError(name, f"it is longer than {MAX_SONG_S:g} s")


def _to_pcm(wave_T: np.ndarray, name: str) -> np.ndarray:
    """float32 to int16: to the nearest, clipped at full scale."""
    if not np.isfinite(wave_T).all():
        raise DecodeError(name, "it holds samples that are not numbers")
    if len(wave_T) and (peak := float(np.abs(wave_T).max())) > _LOUDEST:
        reach = f"its samples reach {peak:,.0f} times full scale"
        raise DecodeError(name, f"{reach}, so they are not the floating-point numbers that its header promises")
    return np.clip(np.rint(wave_T * PCM_PEAK), -PCM_PEAK, PCM_PEAK - 1).astype(PCM_DTYPE)


@cache
def _arguments(whole: bool) -> list[str]:
    """ffmpeg's command line."""
    # one thread per decoder and filter: the cores are kept busy by other files;
    # rematrix_maxval: without it ffmpeg mixes to floats that are 3 dB (5.1: 11 dB) too loud and exceed full scale
    limit = {} if whole else {"t": MAX_SONG_S + 1}
    return _command(format="f32le", ac=1, ar=SAMPLE_RATE, rematrix_maxval=1, **limit)


@cache
def _look_arguments(channels: int = 0) -> list[str]:
    """That of samples as they are, or of so many channels, from where they become loud."""
    mixed = {"ac": channels, "rematrix_maxval": 1} if channels else {}
    loud = f"silenceremove=start_periods=1:start_threshold={_LOOK_DB}dB"
    return _command(format="s16le", t=_LOOK_S, af=loud, **mixed)


def _command(**output: str | float) -> list[str]:
    confined = {"protocol_whitelist": "fd", "format_whitelist": ",".join(AUDIO_FORMATS)}
    song = ffmpeg.input(_INPUT, threads=1, **confined)["a:0"]
    stream = song.output("pipe:", threads=1, filter_threads=1, **output)
    options = ("-nostdin", "-hide_banner", "-loglevel", "error")
    return [str(part) for part in ffmpeg.compile(stream.global_args(*options), cmd=ffmpeg_exe())]


def _answer(command: str, *arguments: str) -> str:
    command_line = [command, *arguments]
    done = subprocess.run(command_line, stdin=subprocess.DEVNULL, capture_output=True, env=library_path(), check=False)
    return done.stdout.decode(errors="replace")


def _reason(log: str, status: int) -> str:
    if "matches no streams" in log:
        return "it has no audio stream"
    if "Format not on whitelist" in log:
        return "it is no audio file, but a playlist, a script, a picture or another kind of file"
    lines = [line.strip() for line in log.splitlines() if line.strip() and not _AFTERMATH.search(line)]
    if not lines:
        return f"ffmpeg ended with {status} and no message"
    # ffmpeg's addresses say nothing and would differ between two runs
    return f"ffmpeg: {_printable(re.sub(r' @ 0x[0-9a-f]+', '', lines[-1]))}"


def _printable(text: str) -> str:
    """A line of a decoder, which may have been taken over."""
    return "".join(c if c.isprintable() else " " for c in text.strip()[-_MAX_REASON:])
