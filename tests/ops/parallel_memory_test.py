"""The parallel form of a matrix memory against the loop over tokens."""

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from keras import ops

from keras_titans.memory import MLPMemory
from keras_titans.memory import Titans
from keras_titans.ops.parallel_memory import fits
from keras_titans.ops.sequence import memorize
from tests.helpers import close
from tests.helpers import to_numpy
from tests.memory_case import ROWS
from tests.memory_case import Case
from tests.ops.recurrence_test import RULES
from tests.ops.sequence_test import same_results

LINEAR = sorted(name for name, rule in RULES.items() if rule.linear)


@pytest.mark.parametrize("anchor", ["token", "chunk"])
def test_equals_the_loop(anchor):
    case = Case("mlp1", Titans(), anchor, tokens=11)
    assert fits(case.recipe())
    same_results(case, parallel=True)


# Most of it is compilation there.
@pytest.mark.slow_on("jax", "tensorflow")
@given(
    rule=st.sampled_from(LINEAR),
    anchor=st.sampled_from(["token", "chunk"]),
    read_first=st.booleans(),
    chunk_size=st.integers(1, 6),
    tokens=st.integers(1, 13),
    seed=st.integers(0, 1000),
)
@settings(max_examples=10)
def test_any_shape_equals_the_loop(
    rule, anchor, read_first, chunk_size, tokens, seed
):
    case = Case(
        "mlp1", RULES[rule], anchor, chunk_size, tokens, seed, read_first
    )
    same_results(case, parallel=True)


@pytest.mark.parametrize("anchor", ["token", "chunk"])
def test_goes_on_inside_a_chunk(anchor):
    """From a state, with rows that are at different places of a chunk."""
    case = Case("mlp1", Titans(), anchor, chunk_size=3, tokens=9)

    def pieces(tokens, memory, shared, recipe, parallel):
        options = {"parallel": parallel, "return_norms": True}
        count = ops.convert_to_tensor([2, 4])
        first = [x[:, :4] for x in tokens[:3]]
        logits = {name: x[:, :4] for name, x in tokens.logits.items()}
        *_, memory = memorize(
            type(tokens)(*first, logits),
            memory,
            shared,
            recipe,
            count,
            ops.zeros((ROWS,), "int32"),
            **options,
        )
        phase = ops.convert_to_tensor([2, 1])
        return memorize(tokens, memory, shared, recipe, None, phase, **options)

    run = lambda parallel: to_numpy(
        case.run(pieces, case.arrays(), parallel=parallel)
    )
    close(run(True), run(False), 1e-10)


def test_what_is_no_matrix_does_not_fit():
    case = Case("mlp1", Titans())
    recipe = case.recipe()
    assert not fits(recipe._replace(network=MLPMemory(2)))
    assert not fits(recipe._replace(network=MLPMemory(1, residual=True)))
    assert not fits(recipe._replace(rule=Titans(clipnorm=1.0)))
