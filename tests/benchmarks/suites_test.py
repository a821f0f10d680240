"""Every cell of every suite can be built, and models compare at equal size."""

import math

import pytest

from benchmarks import suites
from benchmarks.experiment import TASKS
from benchmarks.experiment import build_model
from benchmarks.experiment import build_task
from benchmarks.experiment import training_lengths
from benchmarks.variants import BEST
from benchmarks.variants import CLOSED_FORMS
from benchmarks.variants import MODELS
from tests.benchmarks.stand_ins import stand_ins  # noqa: F401

SUITES = suites.SUITES
every_suite = pytest.mark.parametrize("suite", SUITES)


def parameters_of(configuration, task):
    model = build_model(configuration, task)
    return sum(math.prod(weight.shape) for weight in model.weights)


@every_suite
def test_experiments_differ_by_name(suite):
    names = [experiment.name for experiment in SUITES[suite]]
    assert len(set(names)) == len(names)


@every_suite
def test_every_task_is_built_at_every_training_length(suite, stand_ins):  # noqa: F811
    for experiment in SUITES[suite]:
        configuration = experiment.configuration(experiment.models[0])
        for length in training_lengths(configuration):
            task = build_task(configuration, length)
            batch = next(task.training(seed=0, batch_size=1))
            tokens = length // getattr(task, "patch", 1)
            assert batch.inputs.shape[:2] == (1, tokens)
            assert batch.weight.sum() > 0
        assert next(task.cases(experiment.length)).weight.sum() > 0


def test_suites_cover_what_they_are_to_cover():
    for suite in ("standard", "full"):
        experiments = SUITES[suite]
        assert {experiment.task for experiment in experiments} == set(TASKS)
        for experiment in experiments:
            assert experiment.carried or len(experiment.seeds) == 3
            if not experiment.name.endswith("ablations"):
                few = suites.EVERY if suite == "full" else (BEST,)
                assert set(few) <= set(experiment.models)
        run = {model for one in experiments for model in one.models}
        assert run == set(MODELS)
    for experiment in SUITES["quick"][:2]:
        assert len(experiment.seeds) == 3


@every_suite
def test_a_variant_is_run_beside_what_it_ablates(suite):
    for experiment in SUITES[suite]:
        if experiment.name.endswith("ablations"):
            for model in experiment.models:
                base = MODELS[model].ablates
                assert base is None or base in experiment.models


def check_sizes(experiments):
    seen = set()
    for experiment in experiments:
        task = build_task(experiment.configuration(experiment.models[0]))
        for cell in experiment.cells(seeds=(0,)):
            of = cell.configuration
            if of["mixer"] in CLOSED_FORMS:
                continue
            names = "mixer", "mixer_options", "hidden_dim", "parameters"
            written = str([of[name] for name in (*names, "num_layers")])
            written += str(getattr(task, "vocabulary_size", None))
            if written not in seen:
                seen.add(written)
                count = parameters_of(of, task)
                assert abs(count / experiment.parameters - 1) < 0.01, cell.title


def test_models_of_the_quick_suite_have_as_many_weights(stand_ins):  # noqa: F811
    check_sizes(SUITES["quick"])


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["standard", "full"])
def test_models_have_as_many_weights(suite, stand_ins):  # noqa: F811
    check_sizes(SUITES[suite])
