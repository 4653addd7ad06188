"""Write the model card of an exported model: its training data, scores and licence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genrescale.audio import SAMPLE_RATE, Vocabulary
from genrescale.config.metrics import METRICS


@dataclass(frozen=True)
class Origin:
    """The origin of weights.

    ``trained_on`` is a sentence. ``metrics`` are by name (as in ResultRow), measured on ``measured_on``; unknown
    metrics are left out. For weights that others published, ``run_id`` is "", and ``source`` and ``sha256`` identify
    their file.
    """

    name: str
    trained_on: str
    licence: str
    source: str = ""
    sha256: str = ""
    run_id: str = ""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    measured_on: str = ""
    notes: tuple[str, ...] = ()


def model_card(
    spec: Mapping[str, Any], vocabulary: Vocabulary, num_params: int, frontend: Mapping[str, Any], origin: Origin
) -> str:
    """Render the card as Markdown, with the front matter that model hubs read. ``spec`` is a ModelSpec as a dict."""
    kinds = "exactly one of" if vocabulary.exclusive else "any of"
    rows = [
        *_facts(spec, num_params, frontend, origin),
        ("A song's score", f"mean probability over its windows, `{spec['scoring']}`"),
        ("Output", f"{kinds} {len(vocabulary)} tags (`tags.json`)"),
    ]
    parts = [
        _front_matter(origin),
        f"# {origin.name}\n\nA music tagging model of genrescale.",
        _table(("", ""), rows),
        _scores(origin),
        *origin.notes,
        f"## Tags\n{', '.join(vocabulary.names)}",
        "## Use\n```\npython jobs/tag.py song.mp3 model=FOLDER\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def pretrained_card(spec: Mapping[str, Any], num_params: int, frontend: Mapping[str, Any], origin: Origin) -> str:
    """Render the card of a model trained without tags. ``spec`` has the keys ``model``, ``dials`` and ``crop_s``."""
    parts = [
        _front_matter(origin),
        f"# {origin.name}\n\nPretrained weights of genrescale, without tags. Fine-tune them; `jobs/tag.py` cannot "
        "use them.",
        _table(("", ""), _facts(spec, num_params, frontend, origin)),
        *origin.notes,
        "## Use\nThis folder as `PARENTS/runs/NAME`:\n```\npython jobs/train.py ... site.parents=PARENTS "
        f"run.model.name=ssast run.data.crop_s={spec['crop_s']:g} run.init.run=NAME run.init.take=matching\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _facts(
    spec: Mapping[str, Any], num_params: int, frontend: Mapping[str, Any], origin: Origin
) -> list[tuple[str, str]]:
    dials = ", ".join(f"`{name}={value!r}`" for name, value in spec["dials"].items()) or "its defaults"
    return [
        ("Model", f"`{spec['model']}` with {dials}"),
        ("Parameters", f"{num_params:,}"),
        ("Trained on", origin.trained_on),
        *([("Run", f"`{origin.run_id}`")] if origin.run_id else []),
        *([("Imported from", origin.source)] if origin.source else []),
        *([("SHA-256 of that file", f"`{origin.sha256}`")] if origin.sha256 else []),
        ("Licence", origin.licence or "not stated"),
        ("Input", f"mono, {SAMPLE_RATE:,} Hz, windows of {spec['crop_s']:g} s"),
        ("Front end", ", ".join(f"{name} {value}" for name, value in frontend.items())),
    ]


def _front_matter(origin: Origin) -> str:
    licence = f"license: {origin.licence.lower()}\n" if origin.licence else ""
    return (
        f"---\nlibrary_name: genrescale\npipeline_tag: audio-classification\n{licence}tags: [music, music-tagging]\n---"
    )


def _scores(origin: Origin) -> str:
    rows = [(METRICS[name].label, f"{value:.4f}") for name, value in origin.metrics.items() if value is not None]
    if not rows:
        return "No scores are recorded for these weights."
    return f"## Scores\nOn {origin.measured_on}:\n\n{_table(('metric', 'value'), rows)}"


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    cells = [head, ("---", "---"), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)
