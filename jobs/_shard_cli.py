"""Command line of the sharding jobs: Hydra's overrides into a checked dataclass."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException


def run_job(schema: type[Any], config_name: str, main: Callable[[Any], int | None]) -> None:
    """Run ``main`` on the job's config; what the user got wrong is one line on stderr and exit status 2."""
    try:
        with initialize_config_dir(str(Path(__file__).parent / "conf"), version_base="1.3"):
            config = compose(config_name, overrides=sys.argv[1:])
        job = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), config))
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        cause = error.__cause__ or error
        key = getattr(cause, "full_key", None)
        where = f"{key}: " if key else ""
        allowed = ", ".join(field.name for field in fields(schema))
        sys.exit(_fail(f"{where}{str(cause).splitlines()[0].rstrip('.')}. Keys: {allowed}"))
    try:
        status = main(job)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(_fail(str(error)))
    sys.exit(status)


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
