"""Any task: its rows do not depend on how they are asked for."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import tasks
from benchmarks.tasks.recall import AssociativeRecall
from benchmarks.tasks.task import Batch
from benchmarks.tasks.task import mean_by
from benchmarks.tasks.task import octave
from benchmarks.tasks.task import row_of_parts
from benchmarks.tasks.task import token_marks
from tests.benchmarks.tasks.checks import equal
from tests.benchmarks.tasks.checks import take


@pytest.fixture
def task():
    return AssociativeRecall(24, pairs=4, num_keys=6, num_values=6)


def rows(batches):
    return [
        Batch(*(a[i] for a in b[:3]), {k: v[i] for k, v in b.about.items()})
        for b in batches
        for i in range(len(b.inputs))
    ]


def test_rows_are_the_same_in_batches_of_any_size(task):
    of_two = rows(take(task.training(seed=3, batch_size=2), 6))
    of_three = rows(take(task.training(seed=3, batch_size=3), 4))
    later = rows(take(task.training(seed=3, batch_size=2, first_step=4), 2))
    assert len(of_two) == len(of_three) == 12
    for one, other in zip(of_two, of_three):
        equal(one, other)
    for one, other in zip(of_two[8:], later):
        equal(one, other)
    for size in (1, 3):
        cases = rows(task.cases(48, batch_size=size, count=4, seed=3))
        whole = rows(task.cases(48, batch_size=4, count=4, seed=3))
        assert len(cases) == 4
        for one, other in zip(cases, whole):
            equal(one, other)


def test_other_seeds_and_the_other_half_give_other_rows(task):
    found = [
        rows(take(task.training(seed=0, batch_size=8), 1)),
        rows(take(task.training(seed=1, batch_size=8), 1)),
        rows(task.cases(24, count=8, seed=0)),
        rows(task.cases(24, count=8, seed=1)),
    ]
    rows_seen = {row.inputs.tobytes() for some in found for row in some}
    assert len(rows_seen) == 32


def test_lengths_are_multiples_of_the_training_length(task):
    assert task.lengths == (24, 48, 96, 192, 384)
    for length in task.lengths:
        (batch,) = task.cases(length, batch_size=2, count=2)
        assert batch.inputs.shape == batch.targets.shape == (2, length)


def test_of_a_limited_number_evenly_spaced_rows_are_taken(task):
    task.available = lambda length: 10
    seen = []
    task.held_out_row = lambda rng, length, index: (
        seen.append(index) or task.training_row(rng)
    )
    list(task.cases(count=4))
    assert seen == [0, 2, 5, 7]
    seen.clear()
    list(task.cases(count=20))
    assert seen == list(range(10))
    seen.clear()
    list(task.cases())
    assert seen == list(range(10))


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"length": 0}, "length"),
        ({"batch_size": 1.5}, "batch_size"),
        ({"count": 0}, "count"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_arguments_are_named(task, arguments, name):
    with pytest.raises(ValueError, match=f"`{name}` must be an integer"):
        next(task.cases(**arguments))


def test_outputs_of_another_shape_are_refused(task):
    (batch,) = task.cases(count=1)
    with pytest.raises(ValueError, match=r"\(1, 24, 13\).*\(1, 24, 5\)"):
        task.marks(np.zeros((1, 24, 5)), batch)


def test_marks_are_the_softmax_s_and_the_argmax_s():
    rng = np.random.default_rng(0)
    logits = 5 * rng.normal(size=(7, 5))
    targets = rng.integers(0, 5, 7)
    nats, right = token_marks(logits, targets)
    for i in range(7):
        p = np.exp(logits[i]) / np.exp(logits[i]).sum()
        np.testing.assert_allclose(
            nats[i], -np.log(p[targets[i]]), rtol=1e-5, atol=1e-6
        )
        assert right[i] == (
            max(range(5), key=logits[i].__getitem__) == targets[i]
        )
    # Token 4 is the best of all, 2 the best of 1 and 2.
    logits = np.array([[0.0, 1.0, 2.0, 3.0, 4.0]])
    assert token_marks(logits, np.array([4]))[1] == [True]
    assert token_marks(logits, np.array([2]))[1] == [False]
    assert token_marks(logits, np.array([2]), np.array([1, 2]))[1] == [True]


def test_nan_is_never_right():
    nats, right = token_marks(np.full((1, 3), np.nan), np.array([0]))
    assert np.isnan(nats[0])
    assert not right[0]


def test_an_answer_is_right_if_all_its_tokens_are(task):
    task.whole_rows, task.by, task.vocabulary_size = True, ("depth",), 4
    targets = np.array([[0, 1, 2], [0, 1, 2], [3, 1, 2]])
    weight = np.array([[0, 1, 1]] * 3, "float32")
    about = {"depth": np.array([0.5, 0.0, 0.5])}
    batch = Batch(targets, targets, weight, about)
    answers = np.array([[3, 1, 2], [0, 1, 3], [3, 1, 2]])
    logits = 10.0 * np.eye(4)[answers]
    score = task.score([(batch, task.marks(logits, batch))])
    assert score["exact_match"] == pytest.approx(2 / 3)
    assert score["exact_match_by_depth"] == {0.0: 0.0, 0.5: 1.0}
    good = -np.log(np.exp(10) / (np.exp(10) + 3))
    assert score["nats"] == pytest.approx(2 * good + 10 / 3, rel=1e-5)


def test_octaves():
    found = octave(np.arange(18))
    wanted = [0] + [2 ** int(np.log2(n)) for n in range(1, 18)]
    assert found.tolist() == wanted
    assert octave(1 << 40) == 1 << 40


def test_mean_by():
    means = mean_by(np.array([1, 0, 1, 1]), np.array([8, 2, 2, 8]))
    assert means == {2: 0.5, 8: 1.0}
    assert list(means) == [2, 8]


def test_each_token_is_the_target_of_the_one_before():
    row = row_of_parts(
        [([5, 6], 0.0), ([7], 0.5), ([8, 9], 1.0)], length=6, about={}
    )
    assert row.inputs.tolist() == [5, 6, 7, 8, 9, 0]
    assert row.targets.tolist() == [6, 7, 8, 9, 0, 0]
    assert row.weight.tolist() == [0, 0.5, 1, 1, 0, 0]


def test_evaluate_predicts_from_the_inputs(task):
    def repeat(inputs):
        return 20.0 * np.eye(task.vocabulary_size)[inputs]

    have = task.evaluate(repeat, length=48, count=5, batch_size=2)
    marked = [
        (batch, task.marks(repeat(batch.inputs), batch))
        for batch in task.cases(length=48, count=5)
    ]
    assert have == task.score(marked)
    assert have["exact_match"] == 0
    assert have["nats"] == pytest.approx(20, rel=1e-4)


def test_no_task_needs_a_framework():
    """In a process of its own: the tests have imported Keras."""
    names = [
        f"benchmarks.tasks.{path.stem}"
        for path in pathlib.Path(tasks.__file__).parent.glob("[!_]*.py")
    ]
    assert "benchmarks.tasks.needle" in names
    program = (
        f"import sys, {', '.join(names)}\n"
        "print({'jax', 'keras', 'tensorflow', 'torch'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=pathlib.Path(tasks.__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert result.stdout == "set()\n", result.stderr
