"""An experiment's cells, and what tells them apart."""

import json

import numpy as np
import pytest

from benchmarks import experiment
from benchmarks.experiment import Experiment
from benchmarks.experiment import build_model
from benchmarks.experiment import build_task
from benchmarks.variants import BEST
from benchmarks.variants import MODELS
from benchmarks.variants import Variant
from keras_titans.layers import NeuralMemory
from keras_titans.memory import Titans

RECALL = {
    "name": "recall",
    "task": "recall",
    "options": {"pairs": 2},
    "length": 16,
    "models": ("LMM", "window", "slots"),
    "parameters": 60_000,
    "steps": 4,
    "batch_size": 2,
    "hidden_dim": 32,
}


def test_cells_are_models_and_seeds():
    cells = list(Experiment(**RECALL, seeds=(3, 5)).cells())
    assert [(c.configuration["model"], c.seed) for c in cells] == [
        ("LMM", 3),
        ("window", 3),
        ("slots", 3),
        ("LMM", 5),
        ("window", 5),
        ("slots", 5),
    ]
    (cell,) = Experiment(**RECALL).cells(models=("window",), seeds=(9,))
    assert cell.title == "recall, window, seed 9"


def test_a_configuration_is_what_json_gives_back():
    of = Experiment(**RECALL).configuration("slots")
    assert json.loads(json.dumps(of)) == of
    assert of["mixer_options"] == {"num_slots": 64}
    assert "seeds" not in of and "limit_minutes" not in of
    # What does not carry a state on is the cell that it was.
    assert "carried" not in of
    of = Experiment(**RECALL, carried=(2, 1)).configuration("slots")
    assert of["carried"] == [2, 1]
    assert experiment.training_lengths(of) == [32, 16]


def test_a_variant_replaces_the_experiments_sizes(monkeypatch):
    variant = Variant("MAG", {"window_size": 4, "chunk_size": 2})
    monkeypatch.setitem(MODELS, "small", variant)
    of = Experiment(**{**RECALL, "models": ("small",)}).configuration("small")
    model = build_model(of, build_task(of))
    mixer = model.get_layer("transformer_layer_0").mixer
    assert (mixer.window_size, mixer.memory.chunk_size) == (4, 2)


def test_a_variants_heads_are_wide_in_proportion(monkeypatch):
    variant = Variant("LMM", {"memory_depth": 1}, head_expansion=3)
    monkeypatch.setitem(MODELS, "wide", variant)
    of = Experiment(**{**RECALL, "models": ("wide",)}).configuration("wide")
    memory = (
        build_model(of, build_task(of)).get_layer("transformer_layer_0").mixer
    )
    assert (memory.head_dim, memory.network.depth) == (48, 1)  # 3 x 32 / 2


@pytest.mark.parametrize("name", ["LMM, paper's form", "LMM, no momentum"])
def test_parts_of_a_memory_are_made_of_plain_options(name):
    of = Experiment(**{**RECALL, "models": (name,)}).configuration(name)
    memory = (
        build_model(of, build_task(of)).get_layer("transformer_layer_0").mixer
    )
    rule = memory.update_rule
    if name == "LMM, no momentum":
        assert not rule.momentum and rule.forgetting
        assert memory.network.depth == 2
    else:
        paper = NeuralMemory.paper(2)
        for part in ("network", "update_rule"):
            found, wanted = getattr(memory, part), getattr(paper, part)
            assert found.get_config() == wanted.get_config()
        assert memory.anchor == paper.anchor


def test_the_best_memory_is_the_packages_own_with_wide_heads():
    of = Experiment(**{**RECALL, "models": (BEST,)}).configuration(BEST)
    memory = (
        build_model(of, build_task(of)).get_layer("transformer_layer_0").mixer
    )
    own = NeuralMemory(2, head_dim=32, chunk_size=16)
    for part in ("network", "update_rule"):
        found, wanted = getattr(memory, part), getattr(own, part)
        assert found.get_config() == wanted.get_config()
    assert (memory.head_dim, memory.anchor) == (32, own.anchor)


def test_a_cell_has_the_packages_defaults_in_it():
    # So that a line of other defaults is not taken for a result of today's.
    of = Experiment(**{**RECALL, "models": (BEST,)}).configuration(BEST)
    options = of["mixer_options"]
    assert options["update_rule"] == Titans().get_config()
    assert options["memory_depth"] == 1


def test_a_forecast_is_made_at_the_last_step():
    of = Experiment(
        "electricity",
        "electricity",
        {"horizon": 3, "stride": 500, "patch": 4},
        length=12,
        models=("window",),
        parameters=40_000,
        steps=1,
        batch_size=1,
        hidden_dim=32,
    ).configuration("window")
    task = build_task(of)
    model = build_model(of, task)
    score = task.evaluate(model.predict_on_batch, length=12, batch_size=8)
    assert np.isfinite(score["mse"])
    # Without the head, all stays as it is.
    model.get_layer("head").set_weights(
        [np.zeros_like(w) for w in model.get_layer("head").get_weights()]
    )
    batch = next(task.cases(12, batch_size=8))
    forecast = np.broadcast_to(batch.inputs[:, -1:, -1:], (8, 3, 1))
    np.testing.assert_allclose(model.predict_on_batch(batch.inputs), forecast)


@pytest.mark.parametrize(
    "change, names",
    [
        ({"task": "chess"}, "`task` must be one of"),
        ({"models": ("LSTM",)}, "`models` must be one of"),
        ({"divisors": (3,)}, "`divisors` must divide"),
        ({"carried": (0,)}, "`carried` must be"),
        ({"carried": (1, 4)}, "`carried` must divide `batch_size`"),
        ({"carried": (1, 2), "divisors": (1, 2)}, "exclude each other"),
        ({"steps": 0}, "`steps` must be"),
    ],
)
def test_what_is_not_known_is_named(change, names):
    with pytest.raises(ValueError, match=names):
        Experiment(**{**RECALL, **change})
