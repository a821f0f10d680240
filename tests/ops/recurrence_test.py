"""The loop over tokens against the definition in NumPy, in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_titans.memory import Gate
from keras_titans.memory import GatedDelta
from keras_titans.memory import Titans
from keras_titans.memory import UpdateRule
from keras_titans.ops.recipe import Tokens
from keras_titans.ops.recurrence import one_token
from keras_titans.ops.recurrence import recurrence
from tests.helpers import close
from tests.helpers import to_numpy
from tests.helpers import traced
from tests.memory_case import NETWORKS
from tests.memory_case import ROWS
from tests.memory_case import Case

RULES = {
    "titans": Titans(),
    "to-zero": Titans(forget_to="zero"),
    "no-momentum": Titans(momentum=None),
    "no-forgetting": Titans(forgetting=None),
    "constants": Titans(learning_rate=0.3, momentum=0.4, forgetting=0.1),
    "papers-rate": Titans(
        learning_rate=Gate(maximum=0.1), normalize_learning_rate=False
    ),
    "clipnorm": Titans(learning_rate=Gate(), clipnorm=0.7),
    "gated-delta": GatedDelta(),
    "delta": GatedDelta(forgetting=None),
}


def run(case, mask=None, run_mode=traced, **options):
    """The loop, masked tokens in their places."""
    keep = None if mask is None else ops.convert_to_tensor(mask)
    read, norms, memory = to_numpy(
        run_mode(
            lambda arrays: case.run(
                recurrence, arrays, keep=keep, return_norms=True, **options
            )
        )(case.arrays())
    )
    if mask is not None:
        read, norms = read * mask[..., None, None], norms * mask[..., None]
    return read, norms, memory


@given(
    network=st.sampled_from(sorted(NETWORKS)),
    rule=st.sampled_from(sorted(RULES)),
    anchor=st.sampled_from(["token", "chunk"]),
    read_first=st.booleans(),
    chunk_size=st.integers(1, 4),
    tokens=st.integers(1, 9),
    seed=st.integers(0, 1000),
)
def test_equals_the_definition(
    network, rule, anchor, read_first, chunk_size, tokens, seed
):
    case = Case(
        network, RULES[rule], anchor, chunk_size, tokens, seed, read_first
    )
    mask = case.rng.uniform(size=(ROWS, tokens)) < 0.8
    case.check(run(case, mask), case.definition(mask))


@pytest.mark.parametrize("anchor", ["token", "chunk"])
@pytest.mark.parametrize("rule", sorted(RULES))
def test_each_rule_equals_the_definition(rule, anchor):
    case = Case("mlp2-unit", RULES[rule], anchor)
    case.check(run(case), case.definition())


@pytest.mark.parametrize("remat", [False, True])
def test_compiled_equals_the_definition(run_mode, remat):
    case = Case("mlp2-unit", Titans())
    case.check(run(case, run_mode=run_mode, remat=remat), case.definition())


@pytest.mark.parametrize("rule", ["titans", "gated-delta"])
def test_one_token_equals_the_loop(rule):
    case = Case("mlp2-unit", RULES[rule], "chunk", chunk_size=3)
    mask = case.rng.uniform(size=(ROWS, case.tokens)) < 0.7
    memory, phase, steps = None, np.zeros(ROWS, "int32"), []

    def step(tokens, start, shared, recipe, t):
        tokens = Tokens(
            *(x[:, t : t + 1] for x in tokens[:3]),
            {name: x[:, t : t + 1] for name, x in tokens.logits.items()},
        )
        return one_token(
            tokens,
            start if memory is None else memory,
            shared,
            recipe,
            ops.convert_to_tensor(mask[:, t : t + 1]),
            ops.convert_to_tensor(phase),
            return_norms=True,
        )

    for t in range(case.tokens):
        read, norms, memory = case.run(step, case.arrays(), t=t)
        here = mask[:, t : t + 1, None]
        steps.append((to_numpy(read) * here[..., None], to_numpy(norms) * here))
        phase = (phase + mask[:, t].astype("int32")) % case.chunk_size
    reads, norms = (np.concatenate(x, 1) for x in zip(*steps, strict=True))
    case.check((reads, norms, to_numpy(memory)), case.definition(mask))


def test_a_rule_acts_at_each_chunks_end():
    """A rule that writes nothing, and halves the memory after a chunk."""

    class Halved(UpdateRule):
        gates = {"learning_rate": 0.5}

        def step(self, state, gates, gradient, initial, slope):
            return state if gradient(state["memory"]) else None

        def at_chunk_end(self, state, start, gates, initial):
            return {"memory": [0.5 * w for w in start["memory"]]}

    case = Case("mlp1", Halved(), chunk_size=3, tokens=7)
    mask = np.ones((ROWS, 7), bool)
    mask[1, 2:4] = False
    read, _, memory = run(case, mask)
    first = np.einsum("bthi,hij->bthj", case.query, case.weights[0])
    halvings = np.array([[0, 0, 0, 1, 1, 1, 2], [0, 0, 0, 0, 0, 1, 1]])
    want = first * (0.5**halvings * mask)[..., None, None]
    close(read, want, 1e-12)
    ends = memory.state["memory"][0][:, 0] / case.weights[0][0]
    close(ends[0], 0.25 * np.ones((3, 3)), 1e-12)
    close(ends[1], 0.5 * np.ones((3, 3)), 1e-12)
