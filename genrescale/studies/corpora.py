"""The corpora of a study: those that are given, and one of synthetic songs in place of others, if its scale has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genrescale.config import SiteConfig
from genrescale.config.study import ScaleConfig
from genrescale.data.manifest import MANIFEST_PATH
from genrescale.data.sharding.synthetic import embedded_corpus
from genrescale.storage.store import Store
from genrescale.studies.plan import StudyPlan, plan_study
from genrescale.studies.study import Study


@dataclass(frozen=True, eq=False)
class StudyCorpora:
    """Where the corpora of a study lie. ``given`` are addresses by key, ``files`` is the folder of the study."""

    study: Study
    scale: ScaleConfig
    given: Mapping[str, str]
    files: Store

    @property
    def addresses(self) -> dict[str, str]:
        """By key, the corpora that are given, or made here."""
        made = [corpus.key for corpus in self.study.corpora] if self.scale.synthesis else []
        return {**dict.fromkeys(made, self.files.child("shards").uri), **self.given}

    @property
    def to_make(self) -> bool:
        """Whether songs must be synthesised and sharded before the study can be planned."""
        shards = self.files.child("shards")
        return shards.uri in self.addresses.values() and not shards.exists(MANIFEST_PATH)

    def plan(self, site: SiteConfig) -> StudyPlan:
        """Resolve the runs of the study. Raises ValueError as ``plan_study`` does."""
        return plan_study(self.study, self.addresses, site)

    def check(self, only: Sequence[str], site: SiteConfig) -> None:
        """Refuse what cannot work before anything starts, as far as the corpora are there already."""
        if not self.to_make:
            self.plan(site).tables(only)

    def make(self) -> None:
        """Make the synthetic corpus on the connected Ray cluster, if the study takes it; what is there is kept."""
        if self.scale.synthesis and self.files.child("shards").uri in self.addresses.values():
            embedded_corpus(self.files, self.scale.synthesis, self.scale.shards)
