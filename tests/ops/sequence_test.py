"""The chunked form against the loop over tokens, values and gradients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops
from keras import tree

from keras_titans.memory import MemoryNetwork
from keras_titans.memory import MLPMemory
from keras_titans.memory import Titans
from keras_titans.ops.recurrence import recurrence
from keras_titans.ops.sequence import memorize
from tests.helpers import close
from tests.helpers import gradient
from tests.helpers import to_numpy
from tests.helpers import traced
from tests.memory_case import NETWORKS
from tests.memory_case import ROWS
from tests.memory_case import Case
from tests.ops.recurrence_test import RULES


def both(case, dtype="float64", run_mode=traced, **options):
    """What the chunked form and the loop give, and their gradients."""
    weights = tree.map_structure(
        lambda x: np.cos(np.arange(x.size)).reshape(x.shape), case.arrays()
    )["tokens"][2]

    def through(function, **options):
        flat = tree.flatten(case.arrays())

        def run(*flat):
            arrays = tree.pack_sequence_as(case.arrays(), list(flat))
            return case.run(
                function, arrays, dtype, return_norms=True, **options
            )

        def loss(*flat):
            read, norms, memory = run(*flat)
            parts = [read * ops.convert_to_tensor(weights, dtype), norms]
            parts += tree.flatten(memory.state)
            return sum(ops.sum(x) for x in parts)

        tensors = [ops.convert_to_tensor(x, dtype) for x in flat]
        gradients = run_mode(lambda *flat: gradient(loss, flat))
        return to_numpy((run_mode(run)(*tensors), gradients(*tensors)))

    return through(memorize, **options), through(recurrence)


@given(
    network=st.sampled_from(sorted(NETWORKS)),
    rule=st.sampled_from(sorted(RULES)),
    anchor=st.sampled_from(["token", "chunk"]),
    read_first=st.booleans(),
    chunk_size=st.integers(1, 6),
    tokens=st.integers(1, 13),
    seed=st.integers(0, 1000),
)
def test_equals_the_loop(
    network, rule, anchor, read_first, chunk_size, tokens, seed
):
    if not RULES[rule].linear:
        anchor = "chunk"  # the layer refuses the other
    case = Case(
        network, RULES[rule], anchor, chunk_size, tokens, seed, read_first
    )
    same_results(case)


def same_results(case, tolerance=1e-9, **options):
    (have, have_gradients), (want, want_gradients) = both(case, **options)
    read, norms, memory = have
    close((read, norms, memory.state), (*want[:2], want[2].state), tolerance)
    close(have_gradients, want_gradients, tolerance)


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("anchor", ["token", "chunk"])
@pytest.mark.parametrize("network", ["mlp1", "mlp2-unit"])
def test_compiled_equals_the_loop(run_mode, network, anchor, remat):
    case = Case(network, Titans(), anchor, tokens=11)
    same_results(case, run_mode=run_mode, remat=remat)


@pytest.mark.parametrize("network", ["mlp1", "mlp2-unit"])
@pytest.mark.parametrize("anchor", ["token", "chunk"])
def test_pieces_equal_the_loop(network, anchor):
    """Rows whose chunks begin at different tokens, with others left out."""
    case = Case(network, Titans(), anchor, chunk_size=3, tokens=12)
    mask = case.rng.uniform(size=(ROWS, 12)) < 0.8
    count = mask.sum(1)
    # Each row's real tokens first.
    order = np.argsort(~mask, axis=1, kind="stable")
    take = lambda x: np.stack([x[r][order[r]] for r in range(ROWS)])
    case.query, case.key, case.value = map(
        take, (case.query, case.key, case.value)
    )
    case.logits = {name: take(x) for name, x in case.logits.items()}
    real = np.arange(12) < count[:, None]
    tensor = ops.convert_to_tensor
    want = case.run(
        recurrence, case.arrays(), keep=tensor(real), return_norms=True
    )

    def pieces(tokens, memory, shared, recipe):
        reads, norms, phase, done = [], [], np.zeros(ROWS, "int32"), 0
        for size in (4, 1, 7):
            part = tree.map_structure(
                lambda x: x[:, done : done + size], tokens
            )
            left = np.clip(count - done, 0, size).astype("int32")
            read, norm, memory = memorize(
                part,
                memory,
                shared,
                recipe,
                count=tensor(left),
                phase=tensor(phase),
                return_norms=True,
            )
            reads.append(to_numpy(read))
            norms.append(to_numpy(norm))
            phase = (phase + left) % recipe.chunk_size
            done += size
        return np.concatenate(reads, 1), np.concatenate(norms, 1), memory

    read, norms, memory = case.run(pieces, case.arrays())
    close(
        read * real[..., None, None],
        to_numpy(want[0]) * real[..., None, None],
        1e-10,
    )
    close(norms * real[..., None], to_numpy(want[1]) * real[..., None], 1e-10)
    close(memory.state, want[2].state, 1e-10)


def test_float32_is_close_to_the_loop():
    same_results(Case("mlp2-unit", Titans(), tokens=24), 1e-4, dtype="float32")


def test_a_matrix_does_not_depend_on_the_chunk_size():
    reads = [
        to_numpy(case.run(memorize, case.arrays())[0])
        for size in (1, 3, 16)
        if (case := Case("mlp1", Titans(), chunk_size=size, tokens=16))
    ]
    close(reads[1], reads[0], 1e-10)
    close(reads[2], reads[0], 1e-10)


@pytest.mark.parametrize("logit", [-800.0, 800.0])
def test_saturated_gates_stay_finite(logit):
    """Nothing overflows or divides, gradients neither."""
    case = Case("mlp2-unit", Titans(), chunk_size=16, tokens=20)
    case.logits = {
        name: np.full_like(x, logit) for name, x in case.logits.items()
    }
    same_results(case)


@pytest.mark.parametrize("anchor", ["token", "chunk"])
def test_a_network_without_a_closed_form(anchor):
    """The base class differentiates what a user writes."""

    class Written(MLPMemory):
        backward = MemoryNetwork.backward

    case = Case("mlp2-unit", Titans(), anchor, tokens=9)
    want = case.definition()
    case.fast = Written(2, 1.4, "tanh")
    case.check(
        to_numpy(case.run(memorize, case.arrays(), return_norms=True)), want
    )


def test_a_rule_without_coefficients_runs_the_loop():
    class Slow(Titans):
        has_coefficients = False

    case = Case("mlp2-unit", Slow(), "chunk")
    have = case.run(memorize, case.arrays(), return_norms=True)
    case.check(to_numpy(have), case.definition())


def test_a_rule_acts_at_each_chunks_end():
    """The loop and the chunks agree where a rule bounds the memory."""

    class Bounded(Titans):
        def at_chunk_end(self, state, start, gates, initial):
            moved = [
                w0 + ops.tanh(w - w0)
                for w, w0 in zip(state["memory"], start["memory"])
            ]
            return {**state, "memory": moved}

    same_results(Case("mlp2-unit", Bounded(), chunk_size=3, tokens=8))
    same_results(Case("mlp1", Bounded(), chunk_size=3, tokens=9))
