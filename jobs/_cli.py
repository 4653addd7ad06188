"""What every job shares: Hydra's overrides become one checked dataclass, and a mistake becomes one line."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from genrescale.addresses import scrubbed
from genrescale.config import RUN_ID_LEN
from genrescale.data.sharding.plan import CorpusChangedError, FailureBudgetError
from genrescale.launch.cluster import SUBMITTED, UNDER_WAY
from genrescale.storage.store import DISK_FULL, Store, StoreError

Config = TypeVar("Config")
CONF = Path(__file__).parent / "conf"
# One run id in 200 reads as a number (12345678e901 as infinity): in quotes it stays what it is; a number does, too.
_NUMBER_LIKE_ID = re.compile(rf"(?<=[=\[,])(?=[0-9e]{{{RUN_ID_LEN}}}(?:[\],]|$))[0-9]+e[0-9]+")
EXIT_BAD_CONFIG = 2
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
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
) -> None:
    """Run ``main`` with the job's configuration: ``jobs/conf/{job}.yaml`` on ``schema``, with overrides ``key=value``.

    Arguments without a key are appended to the list of the setting ``positional``, if the job has one: addresses, which
    are taken as they are, whatever Hydra's grammar makes of their spaces, commas and brackets.
    ``--help`` prints ``doc`` and the defaults. A wrong key, type or value, a ValueError of ``main`` (an impossible
    request) and a folder or store that cannot be used end in one line on stderr and exit status 2. What ends a job that
    had started does so in one line and status 1: a store that fails, a full disk, too many broken songs, a corpus that
    somebody else changed meanwhile.
    """
    named, overrides = _apart(sys.argv[1:]) if positional else ([], sys.argv[1:])
    try:
        if help_wanted := {"--help", "-h"} & set(overrides):
            settings = OmegaConf.to_yaml(_compose(schema, job, [o for o in overrides if o not in help_wanted]))
            print(f"{(doc or '').strip()}\n\nSettings and their defaults:\n{settings}")
            sys.exit(0)
        config: Any = OmegaConf.to_object(_compose(schema, job, overrides))
        if named:
            config = dataclasses.replace(config, **{positional: [*getattr(config, positional), *named]})
        sys.exit(main(config) or 0)
    except (HydraException, OmegaConfBaseException) as error:
        _refuse(job, _explain(job, error))
    except (StoreError, OSError) as error:
        began = UNDER_WAY in (notes := getattr(error, "__notes__", [])) or getattr(error, "errno", 0) in DISK_FULL
        told = f" ({'; '.join(notes)})" if notes else ""
        _end(job, _sentence(error) + told, EXIT_FAILED if began else EXIT_BAD_CONFIG)
    except ValueError as error:
        _refuse(job, _sentence(error))
    except (FailureBudgetError, CorpusChangedError) as error:
        _end(job, str(error), EXIT_FAILED)
    except KeyboardInterrupt:
        print(f"{job}: stopped; the same command continues where it was", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


def place(store: str, path: str, name: str) -> Store:
    """The address that the setting ``name`` gives: ``path``, below ``store`` where it is relative.

    Raises ValueError where a submitted job would write into its own working folder, which Ray deletes.
    """
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
    """``place`` of a folder that is written to. Raises OSError, before anything starts, where it lies on this machine
    and cannot be made or written to.
    """
    files = place(store, path, name)
    if (folder := files.local_path()) is not None:
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))
    return files


def _apart(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Arguments that are values alone, and those that are options or ``key=value``. A file's name may hold an ``=``."""
    values = [a for a in arguments if not a.startswith("-") and ("=" not in a or os.path.exists(a))]
    return values, [a for a in arguments if a not in values]


def _compose(schema: type, job: str, overrides: list[str]) -> Any:
    overrides = [_NUMBER_LIKE_ID.sub(r"'\g<0>'", override) for override in overrides]
    ConfigStore.instance().store(name=f"{job}_schema", node=schema)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(job, overrides)


def _refuse(job: str, message: str) -> None:
    _end(job, message, EXIT_BAD_CONFIG)


def _end(job: str, message: str, status: int) -> None:
    print(f"{job}: {scrubbed(message)}", file=sys.stderr)
    sys.exit(status)


def _sentence(error: Exception) -> str:
    """An error in one line; of one of the operating system, with the path and what helps."""
    if isinstance(error, OSError) and error.errno and error.strerror:
        remedy = _REMEDIES.get(error.errno, "check the address, your rights and the disk")
        return f"{error.filename or 'a file'} cannot be read or written: {error.strerror}; {remedy}"
    return " ".join(str(error).split())


def _explain(job: str, error: BaseException) -> str:
    """One sentence that names the key and what is allowed."""
    chain: list[BaseException] = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    root = chain[-1]
    if isinstance(root, (ConfigAttributeError, ConfigKeyError)) and dataclasses.is_dataclass(root.object_type):
        allowed = [field.name for field in dataclasses.fields(root.object_type)]
        return f"{root.full_key!r} is no setting; allowed here: {', '.join(allowed)}"
    if isinstance(root, MissingMandatoryValue):
        return f"{str(root).splitlines()[0].split()[-1]}=... is needed; python jobs/{job}.py --help says what it is"
    key = getattr(root, "full_key", None)
    if key and "is not a ListConfig" in str(root):
        return f"{key} is a list; write {key}=[VALUE]"
    if key and "not in struct" in str(root):
        return f"{key!r} is not set by default; write +{key}=VALUE to add it"
    message = next((line for line in str(root).splitlines() if line.strip()), type(root).__name__)
    return f"{key}: {message}" if key and key not in message else message
