"""``pons2018``: Pons et al. 2018, "End-to-end learning for music audio tagging at scale", tables 1 to 4.

The numbers of the paper stand here as printed, divided by 100 where they are percentages. The models are those that
the released code and the printed parameter counts decide (``genrescale.models``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genrescale.audio import SAMPLE_RATE, seconds_to_len
from genrescale.config import ModelConfig, RunConfig
from genrescale.config.study import ScaleConfig
from genrescale.results.baseline import FLOOR, TREES
from genrescale.studies.study import CorpusNeed, Group, Row, Study, StudyRun, StudyTable

FAMILIES = ("waveform", "spectrogram")
BASIC_FILTERS, BASIC_UNITS = 512, 500
SHORTEST_S = 1.25  # of a crop that leaves the waveform model's back end the frames that it needs
SAMPLE_CNN_LEN = 59_049  # the shortest input of sample_cnn
_DEMO_FILTERS, _DEMO_UNITS = 8, 10  # divide the back end's 512 filters and 500 units at a narrow scale
_NARROWED = {"waveform": 8, "spectrogram": 2}  # at most: more would leave no whole filters of the narrowest front end

CORPORA = (
    CorpusNeed(
        "songs",
        "a catalogue of at least 1M songs with tags to classify and tags to regress (the paper's is private)",
        "audio and a table of paths, labels, artists and splits",
        "jobs/shard_corpus.py corpus=table audio=CATALOGUE/songs.parquet out=CORPUS max_s=30",
        1_000_000,
        10_000,
    ),
    CorpusNeed(
        "mtt",
        "MagnaTagATune, 25,863 clips of 29 s with its original split",
        "mp3.zip.001 to .003, annotations_final.csv and clip_info_final.csv of the MagnaTagATune page at City, "
        "University of London",
        "jobs/shard_corpus.py corpus=mtat audio=MTT out=CORPUS",
        18_709,
        209,
    ),
    CorpusNeed(
        "msd",
        "the Million Song Dataset with the top 50 tags of Last.fm, 241,889 previews of 30 s by 7digital",
        "the previews, and the index of github.com/jordipons/musicnn-training (or a table of track_id and tags)",
        "jobs/shard_corpus.py corpus=msd audio=MSD out=CORPUS",
        201_680,
        2_016,
    ),
)

TABLE_1: Mapping[tuple[str, int], tuple[float, float, float]] = {
    ("waveform", 1_000_000): (0.9250, 0.6120, 0.1465),
    ("spectrogram", 1_000_000): (0.9217, 0.5992, 0.1473),
    ("waveform", 500_000): (0.9116, 0.5642, 0.1504),
    ("spectrogram", 500_000): (0.9161, 0.5818, 0.1493),
    ("waveform", 100_000): (0.9027, 0.5276, 0.1554),
    ("spectrogram", 100_000): (0.9014, 0.5267, 0.1542),
}
PAPER_SIZES = (100_000, 500_000, 1_000_000)
TABLE_1_PARAMS = {"waveform": "5.5M", "spectrogram": "5.9M"}

# front-end width -> ROC-AUC, PR-AUC, parameters
FRONT_ENDS: Mapping[str, Mapping[float, tuple[float, float, str]]] = {
    "waveform": {
        4: (0.8905, 0.3492, "11.8M"),
        2: (0.8896, 0.3474, "7M"),
        1: (0.889, 0.3418, "5.3M"),
        1 / 2: (0.8869, 0.3397, "4.7M"),
        1 / 4: (0.8847, 0.3389, "4.4M"),
    },
    "spectrogram": {
        1 / 8: (0.9008, 0.3718, "4.4M"),
        1 / 4: (0.9012, 0.3769, "4.6M"),
        1 / 2: (0.9040, 0.3811, "5M"),
        1: (0.9031, 0.3779, "5.9M"),
        2: (0.9007, 0.3729, "7.6M"),
    },
}
SELECTED = {"waveform": 2.0, "spectrogram": 0.5}  # the front ends of the rows about the back end
# back-end filters, dense units -> ROC-AUC, PR-AUC, parameters
BACK_ENDS: Mapping[str, Mapping[tuple[int, int], tuple[float, float, str]]] = {
    "waveform": {
        (64, 500): (0.8857, 0.3399, "1.3M"),
        (64, 200): (0.8894, 0.3447, "1.3M"),
        (128, 500): (0.8882, 0.3462, "1.8M"),
        (128, 200): (0.8881, 0.346, "1.7M"),
        (256, 500): (0.8895, 0.3427, "3.1M"),
        (256, 200): (0.8859, 0.3439, "2.9M"),
        (512, 500): (0.8896, 0.3474, "7M"),
        (512, 200): (0.883, 0.3405, "6.7M"),
    },
    "spectrogram": {
        (64, 500): (0.9003, 0.3698, "277k"),
        (64, 200): (0.9028, 0.3755, "222k"),
        (128, 500): (0.9016, 0.3761, "617k"),
        (128, 200): (0.9028, 0.3769, "524k"),
        (256, 500): (0.9018, 0.3798, "1.6M"),
        (256, 200): (0.9006, 0.3716, "1.4M"),
        (512, 500): (0.9040, 0.3811, "5M"),
        (512, 200): (0.8998, 0.3705, "4.7M"),
    },
}
LINEAR_FLOOR = Row("Linear floor: log-mel statistics", baseline=FLOOR)
READINGS = (
    "The residual batch norms of the back end have one weight and one bias for all channels, as in the released code: "
    "only so does every printed parameter count come out.",
    "Parameter counts of the paper are truncated, not rounded: 4,456,538 is 4.4M.",
    "The waveform model of table 1 has nine layers in its front end, that of tables 2 and 4 seven.",
    "The model called basic is the same in tables 2 and 4. MagnaTagATune has its original split, with clips that have "
    "no tag.",
    "Batch size, weight decay and the number of steps are not published. Ours stand in the runs' configurations.",
)


class _Runs:
    """Makes runs of one corpus by its recipe; models are narrowed as the scale says."""

    def __init__(self, corpus: str, scale: ScaleConfig) -> None:
        if corpus not in scale.recipes:
            raise ValueError(f"this scale of the study pons2018 has no recipe for its corpus {corpus}")
        self.corpus, self.recipe, self.narrow = corpus, scale.recipes[corpus], scale.narrow
        self._pons: dict[tuple[Any, ...], tuple[StudyRun, ...]] = {}

    def pons(
        self,
        family: str,
        width: float = 1.0,
        filters: int = BASIC_FILTERS,
        units: int = BASIC_UNITS,
        layers: int = 0,
        size: int = 0,
        crop_s: float = 0.0,
    ) -> tuple[StudyRun, ...]:
        """A run for each seed of one of the paper's own models; the same arguments give the same runs.

        The widths are the paper's. A scale with ``narrow`` divides them: the front end's by at most _NARROWED, the
        back end's to an eighth and a tenth.
        """
        key = (family, width, filters, units, layers, size, crop_s)
        if key not in self._pons:
            dials: dict[str, Any] = {"frontend_width": width / min(self.narrow, _NARROWED[family])}
            if self.narrow > 1:
                filters, units = filters // _DEMO_FILTERS, units // _DEMO_UNITS
                dials |= {"norm_momentum": 0.1, "dropout": 0.1}  # for runs of hundreds of steps
            dials |= {"backend_filters": filters, "backend_units": units}
            dials |= {"frontend_layers": layers} if layers else {}
            self._pons[key] = self.of(family, dials, size, crop_s)
        return self._pons[key]

    def of(
        self, model: str, dials: Mapping[str, Any] | None = None, size: int = 0, crop_s: float = 0.0
    ) -> tuple[StudyRun, ...]:
        recipe = self.recipe
        data = replace(recipe.data, crop_s=crop_s) if crop_s else recipe.data
        return tuple(
            StudyRun(
                self.corpus,
                RunConfig(
                    model=ModelConfig(model, dict(dials or {})),
                    data=data,
                    optim=recipe.optim,
                    augment=recipe.augment,
                    loss=recipe.loss,
                    loss_dials=dict(recipe.loss_dials),
                    precision=recipe.precision,
                    seed=seed,
                ),
                size or (recipe.sizes[-1] if recipe.sizes else 0),
                recipe.sizes[0] if recipe.sizes else 0,
            )
            for seed in recipe.seeds
        )

    def sample_cnn(self) -> tuple[StudyRun, ...]:
        return self.of("sample_cnn", self._width(), crop_s=SAMPLE_CNN_LEN / SAMPLE_RATE)

    def dieleman(self) -> tuple[StudyRun, ...]:
        crop = {"input_len": seconds_to_len(self.recipe.data.crop_s)}
        narrow = {"first_filters": 128 // self.narrow, "filters": 64 // self.narrow} if self.narrow > 1 else {}
        return self.of("dieleman", crop | narrow)

    def choi_fcn(self) -> tuple[StudyRun, ...]:
        crop = {"input_len": seconds_to_len(self.recipe.data.crop_s)}
        channels = [count // self.narrow for count in (64, 128, 128, 128, 64)]
        return self.of("choi_fcn", crop | ({"channels": channels} if self.narrow > 1 else {}))

    def timbre_cnn(self) -> tuple[StudyRun, ...]:
        """The released training crops have 231 frames for this model."""
        return self.of("timbre_cnn", {}, crop_s=SAMPLE_CNN_LEN / SAMPLE_RATE)

    def _width(self) -> dict[str, Any]:
        return {"width": 1 / self.narrow} if self.narrow > 1 else {}


def _scores(roc_auc: float, pr_auc: float, *rmse: float) -> dict[str, float]:
    return dict(zip(("roc_auc", "pr_auc", "rmse"), (roc_auc, pr_auc, *rmse), strict=False))


def _times(width: float) -> str:
    return f"×{width:g}" if width >= 1 else f"×1/{1 / width:g}"  # noqa: RUF001


def table_1(runs: _Runs) -> StudyTable:
    """Both families at each size, largest first. A scale with other sizes stands beside the paper's by rank."""
    sizes = runs.recipe.sizes
    papers = dict(zip(sizes, PAPER_SIZES[-len(sizes) :], strict=True)) if len(sizes) <= len(PAPER_SIZES) else {}
    rows = [
        Row(
            f"{family.capitalize()}, {size:,} songs",
            runs.pons(family, layers=9 if family == "waveform" and runs.narrow == 1 else 0, size=size),
            _scores(*TABLE_1[family, papers[size]]) if size in papers else {},
            TABLE_1_PARAMS[family] if size in papers else "",
            note=f"the paper: {papers[size]:,} songs" if papers.get(size, size) != size else "",
        )
        for size in reversed(sizes)
        for family in FAMILIES
    ]
    trees = Row("Gradient-boosted trees on features", baseline=TREES, paper=_scores(0.9161, 0.5427, 0.1569))
    return StudyTable(
        "table1",
        "Tags by amount of training data",
        "Table 1",
        "songs",
        ("roc_auc", "pr_auc", "rmse"),
        (
            Group("Baselines, of the largest size", (trees, LINEAR_FLOOR)),
            Group("Models, means over seeds", tuple(rows)),
        ),
        "ROC-AUC and PR-AUC are over the tags to classify, RMSE over those to regress. Sizes are nested: the songs of "
        "a smaller one are in every larger one. The paper trained its trees on all 1.2M songs.",
        scaling=True,
    )


def _capacity_table(runs: _Runs, family: str, key: str, number: int, baselines: tuple[Row, ...]) -> StudyTable:
    front = tuple(
        Row(
            f"Filters {_times(width)}" + (" (selected)" if width == SELECTED[family] else ""),
            runs.pons(family, width),
            _scores(roc, pr),
            params,
        )
        for width, (roc, pr, params) in FRONT_ENDS[family].items()
    )
    back = tuple(
        Row(
            f"{filters} CNN filters, {units} units",
            runs.pons(family, SELECTED[family], filters, units),
            _scores(roc, pr),
            params,
        )
        for (filters, units), (roc, pr, params) in BACK_ENDS[family].items()
    )
    return StudyTable(
        key,
        f"Capacity of the {family} model",
        f"Table {number}",
        "mtt",
        ("roc_auc", "pr_auc"),
        (
            Group("State of the art, reproduced", (*baselines, LINEAR_FLOOR)),
            Group("How much capacity does the front end need?", front),
            Group("How much capacity does the back end need?", back),
        ),
    )


def table_2(runs: _Runs) -> StudyTable:
    baselines = (
        Row("SampleCNN (clean version of the data)", paper={"roc_auc": 0.9055}, paper_params="2.4M"),
        Row("SampleCNN (reproduced)", runs.sample_cnn(), _scores(0.8856, 0.3438), "2.4M"),
        Row("Dieleman et al.", paper={"roc_auc": 0.8487}),
        Row("Dieleman et al. (reproduced)", runs.dieleman(), _scores(0.8558, 0.2959), "194k"),
    )
    return _capacity_table(runs, "waveform", "table2", 2, baselines)


def table_3(runs: _Runs) -> StudyTable:
    baselines = (
        Row("VGG, Choi et al.", paper={"roc_auc": 0.8940}, paper_params="22M"),
        Row("VGG (reproduced)", runs.choi_fcn(), _scores(0.8999, 0.3756), "450k"),
        Row("Timbre CNN", paper={"roc_auc": 0.8930}, paper_params="191k"),
        Row("Timbre CNN (reproduced)", runs.timbre_cnn(), _scores(0.8907, 0.3492), "220k"),
    )
    return _capacity_table(runs, "spectrogram", "table3", 3, baselines)


def table_4(runs: _Runs) -> StudyTable:
    return StudyTable(
        "table4",
        "The Million Song Dataset",
        "Table 4",
        "msd",
        ("roc_auc", "pr_auc"),
        (
            Group(
                "Models of the wave",
                (
                    Row("Waveform (basic)", runs.pons("waveform"), _scores(0.8741, 0.2853), "5.3M"),
                    Row("SampleCNN", runs.sample_cnn(), {"roc_auc": 0.8812}, "2.4M"),
                    Row("SampleCNN, multi-level and multi-scale", paper={"roc_auc": 0.8842}),
                ),
            ),
            Group("Baseline", (LINEAR_FLOOR,)),
            Group(
                "Models of spectrograms",
                (
                    Row("Spectrogram (basic)", runs.pons("spectrogram"), _scores(0.8875, 0.3124), "5.9M"),
                    Row("VGG and RNN", paper={"roc_auc": 0.862}, paper_params="3M"),
                    Row("Multi-level and multi-scale", paper={"roc_auc": 0.8878}),
                ),
            ),
        ),
    )


def windows_table(runs: _Runs) -> StudyTable:
    """What section 5.3 supposes (two long windows against ten short ones) and section 4 leaves open (whole songs)."""
    long_s = runs.recipe.data.crop_s
    short_s = max(long_s / 5, SHORTEST_S)
    groups = []
    for family in FAMILIES:
        long, short = runs.pons(family), runs.pons(family, crop_s=short_s)
        groups.append(
            Group(
                family.capitalize(),
                (
                    Row(f"Windows of {long_s:g} s, averaged", long),
                    Row(f"Windows of {short_s:g} s, averaged", short),
                    Row(f"Trained on {long_s:g} s, the whole song at once", long, scoring="whole"),
                    Row(f"Trained on {short_s:g} s, the whole song at once", short, scoring="whole"),
                ),
            )
        )
    return StudyTable(
        "windows",
        "Long windows, short windows, or the whole song",
        "Sections 4 and 5.3",
        "msd",
        ("roc_auc", "pr_auc"),
        tuple(groups),
        "The paper averages two windows of 15 s and supposes that SampleCNN gains by averaging ten of 3 s. It reports "
        "that whole songs scored worse, without numbers.",
    )


def pons2018(scale: ScaleConfig) -> Study:
    """The study at one scale. Raises ValueError for a scale that lacks the recipe of a corpus."""
    songs, mtt, msd = (_Runs(corpus.key, scale) for corpus in CORPORA)
    return Study(
        "pons2018",
        "Waveforms against spectrograms, by amount of data",
        "Pons et al. 2018, End-to-end learning for music audio tagging at scale (ISMIR)",
        "With how many songs do models of the wave overtake models of spectrograms?",
        CORPORA,
        (table_1(songs), table_2(mtt), table_3(mtt), table_4(msd), windows_table(msd)),
        READINGS,
    )
