"""A run is resolved once, in the driver: its config written out, checked, its songs selected, its id computed.

``resolve`` does it. A process that trains the run gets its ``RunTicket``: there ``load_run`` selects the songs, and
completes and checks nothing anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from genrescale.config import ModelConfig, RunConfig, SiteConfig, run_id
from genrescale.config.losses import full_loss_dials
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.models import full_dials
from genrescale.models.own import use_own
from genrescale.models.parts.frontend import NORMALISATION_DIALS
from genrescale.results.code_version import code_version
from genrescale.storage.store import Store
from genrescale.training.checks import check_data, check_run
from genrescale.training.normalise import normalisation
from genrescale.training.select import RunData, select_data


@dataclass(frozen=True)
class RunTicket:
    """What another process needs to train a resolved run; small, so it can be sent.

    ``run`` has every dial written out, ``site`` absolute addresses. ``code_version`` is that of the driver.
    """

    run: RunConfig
    site: SiteConfig
    run_id: str
    data_digest: str
    corpus_version: str
    code_version: str


@dataclass(frozen=True, eq=False)
class ResolvedRun:
    """A run and its data, in one process."""

    ticket: RunTicket
    data: RunData


def resolve(
    run: RunConfig,
    site: SiteConfig,
    manifest: Manifest,
    normalisation_size: int | None = None,
    parent_to_come: bool = False,
) -> ResolvedRun:
    """Complete, check and name a run on the corpus of ``manifest``.

    ``normalisation_size`` is the number of train songs that normalise a model of log-mel spectrograms (by default the
    run's own size): a sweep gives its smallest, so that the scalars do not differ between sizes. Raises ValueError,
    with the remedy, for a run that cannot work.
    """
    site = resolve_site(site)
    run = complete_run(run, manifest, run.data.size if normalisation_size is None else normalisation_size)
    check_run(run, site, manifest.vocabulary, parent_to_come)
    data = select_data(run, manifest)
    check_data(run, data)
    id = run_id(run, data.digest)
    return ResolvedRun(RunTicket(run, site, id, data.digest, manifest.version, code_version()), data)


def load_run(ticket: RunTicket) -> ResolvedRun:
    """The resolved run of a ticket, in the process that trains it.

    Raises ValueError where the corpus has changed, so that the run is no longer the one that its id names.
    """
    data = select_data(ticket.run, read_manifest(ticket.site.corpus))
    if data.digest != ticket.data_digest:
        raise ValueError(
            f"the corpus {ticket.site.corpus} changed after run {ticket.run_id} was planned (version "
            f"{ticket.corpus_version} then, {data.manifest.version} now), and the run would train on other songs, "
            "audio or labels than its id stands for; start the same command again, which plans anew"
        )
    return ResolvedRun(ticket, data)


def resolve_site(site: SiteConfig) -> SiteConfig:
    """The site with absolute addresses, for processes that run in other folders."""
    parents = Store(site.parents).uri if site.parents else ""
    return replace(site, corpus=Store(site.corpus).uri, out=Store(site.out).uri, parents=parents)


def complete_run(run: RunConfig, manifest: Manifest, normalisation_size: int) -> RunConfig:
    """The run with every dial of model and loss written out, so that a default and the same value given are one run.

    A model of log-mel spectrograms gets its normalisation, over the first ``normalisation_size`` train songs.
    """
    use_own(run.model.name)  # a run is resolved where a person's settings are at hand, or a ticket made from them
    dials = full_dials(run.model.name, run.model.dials)
    given = [name for name in NORMALISATION_DIALS if name in run.model.dials]
    if len(given) == 1:
        raise ValueError(f"model.dials.{given[0]} needs the other of {' and '.join(NORMALISATION_DIALS)}, or neither")
    if "log_mel_mean" in dials and not given:
        mean, std = normalisation(manifest, normalisation_size, run.data.crop_s)
        dials |= {"log_mel_mean": mean, "log_mel_std": std}
    return replace(run, model=ModelConfig(run.model.name, dials), loss_dials=full_loss_dials(run.loss, run.loss_dials))
