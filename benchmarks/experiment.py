"""What one experiment is, as data: a task, models, sizes and how they train.

    experiment = Experiment("recall", "recall", {"pairs": 8}, length=64, ...)
    for cell in experiment.cells():
        task = build_task(cell.configuration)
        model = build_model(cell.configuration, task)

A cell is one model of one experiment with one seed. Its configuration is a
dictionary that JSON can write and has all that its result depends on, so
two cells are the same exactly if their configurations are.
"""

import dataclasses
import json
from typing import NamedTuple

from benchmarks.built import built
from benchmarks.tasks.addresses import AddressQuestions
from benchmarks.tasks.forecasting import Electricity
from benchmarks.tasks.genomes import BaseModelling
from benchmarks.tasks.genomes import GenomeSpecies
from benchmarks.tasks.modelling import LanguageModelling
from benchmarks.tasks.needle import Needle
from benchmarks.tasks.recall import AssociativeRecall
from benchmarks.tasks.stories import Stories
from benchmarks.tasks.stories import tellings
from benchmarks.tasks.task import check_choice
from benchmarks.tasks.task import check_count
from benchmarks.tasks.tokens import BytePairs
from benchmarks.tasks.wordnet import MultipleChoice
from benchmarks.variants import MODELS
from benchmarks.variants import TITANS

TASKS = {
    "recall": AssociativeRecall,
    "needle": Needle,
    "modelling": LanguageModelling,
    "stories": Stories,
    "addresses": AddressQuestions,
    "electricity": Electricity,
    "bases": BaseModelling,
    "species": GenomeSpecies,
    "wordnet": MultipleChoice,
}

# Where a whole row must be read, how many of its queries at a time.
QUERY_BLOCK = 2048


class Cell(NamedTuple):
    """One thing to run: `seed` is of its weights and its training rows."""

    configuration: dict
    seed: int
    limit_minutes: float

    @property
    def title(self):
        of = self.configuration
        return f"{of['experiment']}, {of['model']}, seed {self.seed}"


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Models that are trained alike on one task.

    Args:
        name: What tables and plots call it.
        task: One of `TASKS`.
        options: The task's arguments, beside `length`. A `tokenizer` is
            `{"byte_pairs": vocabulary_size}`; `prose` is `"novels"`.
        length: Tokens of a training row.
        models: Names in `MODELS`.
        parameters: Weights of each model, to within a percent.
        steps, batch_size: How much is trained: rows of `length` a step.
        divisors: Of training rows. With `(1, 2, 4)` every second and third
            step has rows of half and of a quarter the length, and twice and
            four times as many of them: the same for all models.
        carried: Of training rows likewise, but longer ones: with `(1, 2, 4)`
            of twice and four times the length, and half and a quarter as many.
            A model with a state reads them `length` tokens at a time, the
            state carried on and the gradient not; one without, whole.
        hidden_dim, num_layers, num_heads: Of the models.
        window_size: Tokens of windows and segments.
        chunk_size: Tokens of a memory's chunk.
        num_slots: Of a slot memory.
        dtype: The models' dtype policy.
        learning_rate: Its peak, after the warm-up; it ends at a tenth.
        warmup: Share of the steps in which the learning rate grows.
        weight_decay: Of AdamW, on matrices only.
        times: Held-out lengths, in training lengths.
        cases: Held-out rows of the longest length.
        same_tokens: Whether shorter rows are more in number, so that as many
            tokens are judged. If not, there are `cases` of each length.
        judge_batch: Held-out rows at a time.
        seeds: One run each.
        limit_minutes: What takes longer is stopped, and said to have been.
    """

    name: str
    task: str
    options: dict
    length: int
    models: tuple[str, ...]
    parameters: int
    steps: int
    batch_size: int
    divisors: tuple[int, ...] = (1,)
    carried: tuple[int, ...] = ()
    hidden_dim: int = 64
    num_layers: int = 2
    num_heads: int = 2
    window_size: int = 32
    chunk_size: int = 16
    num_slots: int = 64
    dtype: str = "float32"
    learning_rate: float = 3e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    times: tuple[int, ...] = (1, 2, 4, 8, 16)
    cases: int = 40
    same_tokens: bool = False
    judge_batch: int = 8
    seeds: tuple[int, ...] = (0,)
    limit_minutes: float = 60.0

    def __post_init__(self):
        check_choice("task", self.task, TASKS)
        for model in self.models:
            check_choice("models", model, MODELS)
        for name in ("length", "parameters", "steps", "batch_size", "cases"):
            check_count(name, getattr(self, name))
        if self.carried and self.divisors != (1,):
            raise ValueError(
                "Arguments `carried` and `divisors` exclude each other. "
                f"Received: carried={self.carried}, divisors={self.divisors}."
            )
        check_divide("carried", self.carried, "batch_size", self.batch_size)
        check_divide("divisors", self.divisors, "length", self.length)

    def cells(self, models=None, seeds=None):
        """All cells, or those of some models, or with other seeds."""
        for seed in self.seeds if seeds is None else seeds:
            for model in self.models:
                if models is None or model in models:
                    yield Cell(
                        self.configuration(model), seed, self.limit_minutes
                    )

    def configuration(self, model):
        """All that the result of one of the models depends on."""
        apart = ["name", "models", "seeds", "limit_minutes", "num_slots"]
        if not self.carried:
            apart.append("carried")
        common = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in apart
        }
        variant = MODELS[model]
        sizes = {}
        if variant.mixer == "slots":
            sizes["num_slots"] = self.num_slots
        if variant.head_expansion:
            inner = variant.head_expansion * self.hidden_dim
            sizes["head_dim"] = inner // self.num_heads
        if variant.mixer == "transformer":
            sizes["query_block"] = QUERY_BLOCK
        options = {**sizes, **variant.options}
        if variant.mixer in TITANS:
            # Whole, so that other defaults of the package are another cell.
            rule = built({"update_rule": {}, **options})["update_rule"]
            options["update_rule"] = rule.get_config()
        configuration = {
            "experiment": self.name,
            "model": model,
            "ablates": variant.ablates,
            "mixer": variant.mixer,
            **common,
            "mixer_options": options,
        }
        # Tuples are lists in JSON, and must compare as they do there.
        return json.loads(json.dumps(configuration))


def check_divide(name, divisors, of, number):
    """Raise a `ValueError` unless each of the counts divides a number."""
    for divisor in divisors:
        check_count(name, divisor)
        if number % divisor:
            raise ValueError(
                f"Argument `{name}` must divide `{of}`. Received: "
                f"{name}={divisors}, {of}={number}."
            )


def training_lengths(configuration):
    """Tokens of the training rows, one length for each step in turn."""
    length = configuration["length"]
    if carried := configuration.get("carried"):
        return [length * multiple for multiple in carried]
    return [length // divisor for divisor in configuration["divisors"]]


def build_task(configuration, length=None):
    """The task of a cell, at its training length or another."""
    from benchmarks.tasks import prose

    options = dict(configuration["options"])
    if "prose" in options:
        check_choice("prose", options["prose"], ("novels", "addresses"))
        options["prose"] = getattr(prose, options["prose"])()
    if "tokenizer" in options:
        halves = options.get("prose") or prose.addresses()
        texts = list(halves.training)
        if configuration["task"] == "stories":
            texts += tellings()
        options["tokenizer"] = BytePairs(
            texts, options["tokenizer"]["byte_pairs"]
        )
    length = configuration["length"] if length is None else length
    return TASKS[configuration["task"]](length, **options)


def build_model(configuration, task):
    """The model of a cell, from a task's inputs to its outputs."""
    import keras

    from benchmarks.baselines.models import language_model
    from benchmarks.baselines.models import vector_model

    names = ("hidden_dim", "num_layers", "num_heads", "parameters", "dtype")
    size = {name: configuration[name] for name in names}
    size |= _mixer_options(configuration)
    mixer = configuration["mixer"]
    if hasattr(task, "vocabulary_size"):
        return language_model(mixer, task.vocabulary_size, **size)
    shape = task.horizon, task.channels
    width = task.patch * task.channels
    model = vector_model(mixer, width, shape[0] * shape[1], **size)
    # What stands at the last token has seen all. As in NLinear, it says by how
    # much the steps to come differ from the very last one.
    change = keras.layers.Reshape(shape)(model.output[:, -1])
    last = model.input[:, -1:, -task.channels :]
    return keras.Model(model.input, last + change)


def _mixer_options(configuration):
    options = {"window_size": configuration["window_size"]}
    if configuration["mixer"] in TITANS:
        options["chunk_size"] = configuration["chunk_size"]
    return options | built(configuration["mixer_options"])
