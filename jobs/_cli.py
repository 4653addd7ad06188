"""The command line of every job: Hydra's overrides become one validated dataclass, errors become one line.

A job imports at its top what its settings need; its ``main`` imports the rest. So ``--help`` and a mistake in a setting
are answered at once, without the seconds that Ray, PyTorch and Arrow take to import.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from _arguments import cut_apart, did_you_mean, positional_apart, settings_of, table_of, texts_apart
from _failures import logged
from _signals import stoppable
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from genrescale import __version__
from genrescale.addresses import scrubbed
from genrescale.config import RUN_ID_LEN
from genrescale.data.sharding.errors import CorpusChangedError, FailureBudgetError
from genrescale.launch.cluster import SUBMITTED, UNDER_WAY
from genrescale.launch.private_ray import RayStartError
from genrescale.storage.errors import DISK_FULL, LeaseLostError, StoreError
from genrescale.storage.store import Store
from genrescale.telemetry.terminal import say

Config = TypeVar("Config")
CONF = Path(__file__).parent / "conf"
# One run id in 200 looks like a number (12345678e901, read as infinity), so it is quoted; real numbers survive that.
_NUMBER_LIKE_ID = re.compile(rf"(?<=[=\[,])(?=[0-9e]{{{RUN_ID_LEN}}}(?:[\],]|$))[0-9]+e[0-9]+")
EXIT_BAD_CONFIG = 2
EXIT_FAILED = 1
EXIT_OUR_MISTAKE = 70  # as sysexits.h says it of an internal error
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141  # as a shell says it of a program that was ended by SIGPIPE
_CONTINUING = (
    "baselines",
    "mix_corpora",
    "scale_sweep",
    "shard_corpus",
    "study",
    "synthesize_corpus",
    "take_down",
    "train",
)
_RIGHTS = "give this user the right to it, or take another address"
_IN_THE_WAY = "a file lies where a folder is needed; move it, or take another address"
_REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST), _IN_THE_WAY),
    **dict.fromkeys(DISK_FULL, "make room there; the same command continues"),
}


def run_job(
    schema: type[Config],
    job: str,
    main: Callable[[Config], int | None],
    doc: str | None,
    positional: str = "",
    check: Callable[[Config, Sequence[str]], None] | None = None,
) -> None:
    """Run ``main`` with the job's configuration: ``jobs/conf/{job}.yaml`` on ``schema``, and overrides ``key=value``.

    Arguments without a key are appended to the list setting ``positional``, if the job has one. They and the settings
    that are text are not parsed by Hydra, so they may contain any characters. ``--help`` prints ``doc`` and the
    defaults, ``--version`` the version of genrescale. ``check`` gets the configuration and the names of the settings
    that were typed, before ``main``.

    Errors end in one line on stderr. Exit status 2: a wrong key, type or value, a ValueError of ``main`` (a request
    that cannot be met), and a folder or store that cannot be used. Exit status 1, for a job that had started: a failing
    store, a full disk, too many failed songs, a corpus that another job changed or has taken over, or Ray. Ctrl-C and
    SIGTERM: 130. Exit status 70: a mistake of this software; the line names a log with the trace.
    """
    named, overrides = positional_apart(schema, sys.argv[1:]) if positional else ([], sys.argv[1:])
    try:
        if "--version" in overrides:
            say(f"genrescale {__version__}")
            sys.exit(0)
        if help_wanted := {"--help", "-h"} & set(overrides):
            settings = OmegaConf.to_yaml(_compose(schema, job, [o for o in overrides if o not in help_wanted]))
            say(f"{(doc or '').strip()}\n\nSettings and their defaults:\n{settings}")
            sys.exit(0)
        config: Any = compose_settings(schema, job, overrides)
        if named:
            config = dataclasses.replace(config, **{positional: [*getattr(config, positional), *named]})
        if check:
            check(config, [override.partition("=")[0].lstrip("+~") for override in overrides])
        with stoppable(job):
            status = main(config) or 0
        sys.exit(status)
    except (HydraException, OmegaConfBaseException) as error:
        _refuse(job, cut_apart(overrides) or _explain(job, schema, overrides, error))
    except BrokenPipeError:  # the reader of stdout, such as head, has got what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_PIPE_CLOSED)
    except (StoreError, OSError) as error:
        began = UNDER_WAY in (notes := getattr(error, "__notes__", [])) or getattr(error, "errno", 0) in DISK_FULL
        details = f" ({'; '.join(notes)})" if notes else ""
        _end(job, _sentence(error) + details, EXIT_FAILED if began else EXIT_BAD_CONFIG)
    except ValueError as error:
        _refuse(job, _sentence(error))
    except (FailureBudgetError, CorpusChangedError, LeaseLostError, RayStartError) as error:
        _end(job, str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        goes_on = "; the same command continues where it was" if job in _CONTINUING else ""
        say(f"{job}: stopped{goes_on}", sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        if _is_ours(error):
            _end(job, logged(job, error), EXIT_OUR_MISTAKE)
        _end(job, f"{_of_ray(error)} ({UNDER_WAY}; the same command continues)", EXIT_FAILED)


def compose_settings(schema: type[Config], job: str, overrides: Sequence[str]) -> Config:
    """The settings of a job with these overrides, validated."""
    config: Any = OmegaConf.to_object(_compose(schema, job, list(overrides)))
    return config


def _is_ours(error: BaseException) -> bool:
    """Whether this is a mistake of this software, in the job itself or in a task of its."""
    if not _is_rays(error):
        return True
    from genrescale.launch.errors import is_unexpected

    return is_unexpected(error)


def _is_rays(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] == "ray"


def _of_ray(error: Exception) -> str:
    """What a task or Ray itself failed with, out of the traces around it."""
    from genrescale.launch.errors import error_sentence

    return error_sentence(error)


def place(store: str, path: str, name: str) -> Store:
    """Return the address given by the setting ``name``: ``path``, inside ``store`` if it is relative.

    Raises ValueError if a submitted job would write into its own working folder, because Ray deletes that folder.
    """
    from genrescale.storage.store import Store

    if "://" in path or os.path.isabs(os.path.expanduser(path)):
        return Store(path)
    if store:
        return Store(store).child(path)
    if SUBMITTED in os.environ:
        raise ValueError(
            f"{name}={path} lies in the folder of this submitted job, which Ray deletes; give store=s3://BUCKET/PREFIX "
            f"or a folder that all nodes share (store=/mnt/music), or make {name} absolute"
        )
    return Store(path)


def place_out(store: str, path: str, name: str) -> Store:
    """Return ``place`` of a folder to write to.

    Raises OSError, before the job starts, if the folder is local and not writable.
    """
    files = place(store, path, name)
    if (folder := files.local_path()) is not None:
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(existing))
        if not os.access(existing, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(existing))
    return files


def _compose(schema: type, job: str, overrides: list[str]) -> Any:
    if unknown := next((override for override in overrides if override.startswith("-")), ""):
        raise ValueError(f"{unknown!r} is no option; options are --help and --version, settings are NAME=VALUE")
    if bare := next((override for override in overrides if "=" not in override and override[:1] != "~"), ""):
        if divided := cut_apart(overrides):
            raise ValueError(divided)
        raise ValueError(f"{bare!r} is no setting; settings are NAME=VALUE, such as out={bare}")
    texts, parsed = texts_apart(schema, overrides)
    parsed = [_NUMBER_LIKE_ID.sub(r"'\g<0>'", override) for override in parsed]
    ConfigStore.instance().store(name=f"{job}_schema", node=schema)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            config = compose(job, parsed)
        except (AssertionError, AttributeError):  # of OmegaConf, for a setting in a group that is None
            unset = [entry.name for entry in dataclasses.fields(schema) if entry.default is None]
            raise ValueError(f"settings of {', '.join(unset)} need a sweep that has it, such as sweep=demo") from None
    for key, text in texts.items():
        text = text.replace("${", "\\${")
        if (table := table_of(schema, key)) is None:
            OmegaConf.update(config, key, text)
        else:
            with open_dict(config):
                OmegaConf.select(config, table[0])[table[1]] = text
    return config


def _refuse(job: str, message: str) -> None:
    _end(job, message, EXIT_BAD_CONFIG)


def _end(job: str, message: str, status: int) -> None:
    say(f"{job}: {scrubbed(message)}", sys.stderr)
    sys.exit(status)


def _sentence(error: Exception) -> str:
    """Format an error in one line; for one of the operating system, add the path and a remedy."""
    if _is_rays(error):  # of a task: it is of Ray's class and of its cause's
        return _of_ray(error)
    if isinstance(error, OSError) and error.errno and error.strerror:
        remedy = _REMEDIES.get(error.errno, "check the address, your rights and the disk")
        return f"{error.filename or 'a file'} cannot be read or written: {error.strerror}; {remedy}"
    return " ".join(str(error).split())


_KINDS = {"converted to Integer": "a whole number", "converted to Float": "a number", "a valid bool": "true or false"}


def _explain(job: str, schema: type, overrides: Sequence[str], error: BaseException) -> str:
    """Explain a configuration error in one sentence, with the key and what is allowed."""
    chain: list[BaseException] = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    root = chain[-1]
    if isinstance(root, MissingConfigException) and root.options:
        group, _, choice = str(root.missing_cfg_file).rpartition("/")
        return f"{group}={choice} is none of {', '.join(root.options)}{did_you_mean(choice, root.options)}"
    if isinstance(root, (ConfigAttributeError, ConfigKeyError)) and dataclasses.is_dataclass(root.object_type):
        allowed = [field.name for field in dataclasses.fields(root.object_type)]
        meant = did_you_mean(str(root.full_key), list(settings_of(schema)))
        return f"{root.full_key!r} is no setting; allowed here: {', '.join(allowed)}{meant}"
    if isinstance(root, MissingMandatoryValue):
        return f"{str(root).splitlines()[0].split()[-1]}=... is needed; python jobs/{job}.py --help says what it is"
    key = getattr(root, "full_key", None)
    if key and "is not a subclass of" in str(root):
        settings = [name for name in settings_of(schema) if name.startswith(f"{key}.")]
        return f"{key} is a group of settings: {', '.join(settings)}"
    if key and "is not a ListConfig" in str(root):
        return f"{key} is a list; write {key}=[VALUE]"
    if key and "not in struct" in str(root):
        return f"{key!r} is not set by default; write +{key}=VALUE to add it"
    message = next((line for line in str(root).splitlines() if line.strip()), type(root).__name__)
    if key and (kind := next((kind for words, kind in _KINDS.items() if words in message), "")):
        typed = next((value for name, _, value in (o.partition("=") for o in overrides) if name.lstrip("+") == key), "")
        return f"{key}={typed} is not {kind}"
    return f"{key}: {message}" if key and key not in message else message
