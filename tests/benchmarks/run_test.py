"""What is run, what was run before, and what becomes of a cell that ends."""

import dataclasses
import json
import subprocess
import sys

import pytest

from benchmarks import run
from benchmarks import suites
from benchmarks.experiment import Experiment
from benchmarks.report import report
from benchmarks.workers import Stopped

TINY = Experiment(
    "recall",
    "recall",
    {"pairs": 2, "num_keys": 8, "num_values": 8},
    length=16,
    models=("window", "rg-lru"),
    parameters=20_000,
    steps=4,
    batch_size=2,
    hidden_dim=16,
    num_layers=1,
    times=(1, 2),
    cases=4,
    judge_batch=4,
    seeds=(0, 1),
    limit_minutes=5.0,
)


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """Runs a suite of one experiment and says which cells were run."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")

    def go(*words, experiment=TINY, failed=()):
        cells = []

        def run_cell(cell, backend, machine, on_steps):
            cells.append((cell.configuration["model"], cell.seed))
            line = {"backend": backend, **cell._asdict()}
            bad = cells[-1] in failed
            return line | (
                {"failed": "too slow"} if bad else {"scores": {}, "not_run": {}}
            )

        monkeypatch.setitem(suites.SUITES, "quick", (experiment,))
        monkeypatch.setattr(run, "run_cell", run_cell)
        run.run(run.parse(["--results", str(tmp_path), *words]))
        return cells

    return go


ALL = [("window", 0), ("rg-lru", 0), ("window", 1), ("rg-lru", 1)]


def test_a_finished_cell_is_not_run_again(ran):
    assert ran("--seeds", "0") == ALL[:2]
    assert ran() == ALL[2:]
    assert ran() == []


def test_another_configuration_is_another_cell(ran, monkeypatch):
    assert ran() == ALL
    assert ran(experiment=dataclasses.replace(TINY, steps=5)) == ALL
    easier = dataclasses.replace(TINY, options={"pairs": 1})
    assert ran(experiment=easier) == ALL
    # More time, or one model more, leave the others as they were.
    more = dataclasses.replace(
        TINY, limit_minutes=9.0, models=("LMM", "window", "rg-lru")
    )
    assert ran(experiment=more) == [("LMM", 0), ("LMM", 1)]
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert ran() == ALL


def test_a_failed_cell_is_tried_again(ran):
    assert ran(failed=[ALL[1]]) == ALL
    assert ran() == [ALL[1]]


def test_models_and_tasks_can_be_chosen(ran, capsys):
    assert ran("--models", "rg-lru", "--tasks", "recall") == ALL[1::2]
    for words in (["--models", "LSTM"], ["--tasks", "chess"]):
        with pytest.raises(SystemExit):
            ran(*words)
        assert words[1] in capsys.readouterr().err
    assert ran("--list") == []


def test_jax_is_the_engine_where_none_is_named(monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    for module in ("run", "report"):
        code = (
            f"import benchmarks.{module}, keras; print(keras.config.backend())"
        )
        engine = subprocess.check_output(
            [sys.executable, "-c", code], text=True
        )
        assert engine.strip() == "jax"


def test_a_model_that_no_chosen_experiment_has_is_told(monkeypatch, capsys):
    other = dataclasses.replace(TINY, name="other", models=("LMM",))
    monkeypatch.setitem(suites.SUITES, "quick", (TINY, other))
    run.parse(["--tasks", "other", "--models", "LMM"])
    with pytest.raises(SystemExit):
        run.parse(["--tasks", "recall", "--models", "LMM"])
    assert "['window', 'rg-lru']. Received: ['LMM']" in capsys.readouterr().err


def answering(losses=(2.0,), stopped_at=None):
    """A worker's `ask`, with the losses of one slice after the other."""
    losses = list(losses)
    asked = []

    def ask(do, **command):
        asked.append((do, *command.values()))
        if do == "train":
            loss = losses.pop(0) if len(losses) > 1 else losses[0]
            return {"loss": loss, "seconds": 1.0}
        if do == "peaks":
            return {"peak_bytes": 7, "peak_device_bytes": None}
        if command["length"] == stopped_at:
            raise Stopped("needs > 9 GiB", True)
        return {"score": {"exact_match": 0.5}, "seconds": 1.0}

    return ask, asked


def configuration(**change):
    return dataclasses.replace(TINY, **change).configuration("window")


def test_training_goes_by_slices_of_whole_cycles():
    of = configuration(steps=50, divisors=(1, 2, 4))
    ask, asked = answering()
    done = []
    facts = run.trained(of, ask, done.append)
    assert done == [3] * 16 + [2] and facts["slice_steps"] == 3
    assert facts["tokens"] == 50 * 2 * 16
    assert facts["peak_bytes_of_training"] == 7
    assert "diverged" not in facts


def test_a_loss_that_is_not_finite_ends_a_training():
    ask, asked = answering([2.0, None])
    facts = run.trained(configuration(steps=40), ask, lambda steps: None)
    assert facts["diverged"] == 4 and facts["tokens"] == 4 * 2 * 16
    assert facts["loss"] == [2.0, None]


def test_as_many_tokens_are_judged_at_each_length():
    ask, asked = answering()
    of = configuration(times=(4, 1), cases=5, same_tokens=True)
    facts = run.judged(of, ask)
    assert [a for a in asked if a[0] == "score"] == [
        ("score", 16, 20),
        ("score", 64, 5),
    ]
    assert list(facts["scores"]) == ["16", "64"]
    assert facts["not_run"] == {} and facts["peak_bytes"] == 7


def test_a_length_that_does_not_fit_is_said_and_the_others_are_kept():
    of = configuration(times=(1, 2, 4))
    facts = run.judged(of, answering(stopped_at=32)[0])
    assert list(facts["scores"]) == ["16"]
    assert facts["not_run"] == {"32": "needs > 9 GiB"}
    with pytest.raises(Stopped):
        run.judged(of, answering(stopped_at=16)[0])


@pytest.mark.slow
def test_real_cells_from_end_to_end(monkeypatch, tmp_path, capsys):
    broken = dataclasses.replace(
        TINY, name="broken", options={"pairs": 9}, models=("window",)
    )
    monkeypatch.setitem(suites.SUITES, "quick", (TINY, broken))
    words = ["--results", str(tmp_path), "--seeds", "0"]
    run.run(run.parse(words))
    lines = run.read(tmp_path / "quick.jsonl")
    assert len(lines) == 3
    for line in lines[:2]:
        assert list(line["scores"]) == ["16", "32"]
        assert line["tokens"] == 4 * 2 * 16
        assert line["peak_bytes"] > 1e7
        assert abs(line["parameters"] / 20_000 - 1) < 0.02
        assert len(line["loss"]) == len(line["train_seconds"]) == 4
    assert "`length` must be at least" in lines[2]["failed"]
    run.run(run.parse(words))
    assert "3 cells, 2 of them done before" in capsys.readouterr().out
    text = report("quick", tmp_path).read_text()
    assert "broken, window, seed 0: ValueError" in text


@pytest.mark.slow
def test_the_quick_suite(tmp_path):
    run.run(run.parse(["--results", str(tmp_path)]))
    lines = run.read(tmp_path / "quick.jsonl")
    cells = [cell for one in suites.QUICK for cell in one.cells()]
    assert len(lines) == len(cells)
    for line in lines:
        assert "failed" not in line and line["not_run"] == {}
        assert line["loss"][-1] < line["loss"][0]
    assert json.dumps(lines)
    report("quick", tmp_path)
