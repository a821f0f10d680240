"""The chunked memory against the token-by-token definition, in float64."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_titans.memory import GatedMLPMemory
from keras_titans.memory import MemoryNetwork
from keras_titans.memory import MLPMemory
from keras_titans.memory import SquaredError
from keras_titans.memory import UpdateRule
from keras_titans.ops.chunk import Memory
from keras_titans.ops.chunk import Shared
from keras_titans.ops.recipe import Recipe
from keras_titans.ops.sequence import Tokens
from keras_titans.ops.sequence import fresh_memory
from keras_titans.ops.sequence import memorize
from tests import reference
from tests.helpers import to_numpy

DIM = 3


def networks():
    for depth in (1, 2, 3):
        for unit_norm in (True, False):
            yield (
                f"mlp{depth}{'-unit' * unit_norm}",
                MLPMemory(depth, 1.4, "tanh", unit_norm=unit_norm),
                lambda x, w, u=unit_norm: reference.mlp(x, w, unit_norm=u),
            )
    yield (
        "mlp2-residual",
        MLPMemory(2, 2, "silu", residual=True),
        lambda x, w: reference.mlp(x, w, reference.silu, residual=True),
    )
    yield (
        "gated",
        GatedMLPMemory(1.4),
        reference.gated_mlp,
    )


NETWORKS = {name: pair for name, *pair in networks()}


class Case:
    """A drawn sequence, and both ways through it."""

    def __init__(self, network, rule, anchor, chunk_size, tokens, seed):
        self.fast, self.slow = NETWORKS[network]
        self.rule = rule
        self.anchor = anchor
        self.chunk_size = chunk_size
        self.rng = np.random.default_rng(seed)
        self.rows, self.heads, self.tokens = 2, 2, tokens
        shape = (self.rows, tokens, self.heads)
        draw = lambda: self.rng.normal(size=(*shape, DIM))
        self.query, self.key = reference.unit(draw()), reference.unit(draw())
        self.value = draw()
        gate = lambda: self.rng.uniform(0.05, 0.95, shape)
        self.theta = 0.4 * gate()
        self.eta = gate() if rule.momentum else None
        self.alpha = gate() if rule.forgetting else None
        shapes = self.fast.map_shapes(DIM)
        self.weights = [
            0.5 * self.rng.normal(size=(self.heads, *s)) for s in shapes
        ]
        self.rates = self.rng.uniform(0.1, 1, (len(shapes) - 1, self.heads))

    def run_slow(self, mask=None):
        """Reads, norms and states, in the fast path's shapes."""
        shape = (self.rows, self.tokens, self.heads)
        reads, norms = np.zeros((*shape, DIM)), np.zeros(shape)
        states = {}
        for row, head in np.ndindex(self.rows, self.heads):
            at = (row, slice(None), head)
            reads[at], norms[at], states[row, head] = reference.memorize(
                self.query[at],
                self.key[at],
                self.value[at],
                self.theta[at],
                None if self.eta is None else self.eta[at],
                None if self.alpha is None else self.alpha[at],
                [w[head] for w in self.weights],
                self.slow,
                anchor=self.anchor,
                chunk_size=self.chunk_size,
                rates=[*self.rates[:, head], 1.0],
                mask=None if mask is None else mask[row],
                forget_to_initial=self.rule.forget_to == "initial",
                forget_first=self.rule.forget_first,
                read_first=self.rule.read_first,
                max_surprise=self.rule.max_surprise,
            )
        return reads, norms, states

    def run_fast(self, run_mode=lambda fn: fn, remat=False, dtype="float64"):
        tokens, start, options = self.arguments(dtype)

        def run(query, key, value):
            given = tokens._replace(query=query, key=key, value=value)
            return memorize(given, start, remat=remat, **options)

        return to_numpy(run_mode(run)(tokens.query, tokens.key, tokens.value))

    def run_steps(self, mask):
        """Token by token, each from the memory that the last one left."""
        tokens, memory, options = self.arguments("float64")
        phase = np.zeros(self.rows, "int32")
        steps = []
        for t in range(self.tokens):
            here = mask[:, t].astype("int32")
            read, norms, memory = memorize(
                Tokens(
                    *(None if x is None else x[:, t : t + 1] for x in tokens)
                ),
                memory,
                phase=ops.convert_to_tensor(phase),
                # Where all rows have one, none is counted.
                count=None if here.all() else ops.convert_to_tensor(here),
                **options,
            )
            phase = (phase + here) % self.chunk_size
            keep = here.reshape(-1, 1, 1)
            steps.append(
                (to_numpy(read) * keep[..., None], to_numpy(norms) * keep)
            )
        reads, norms = (
            np.concatenate(parts, axis=1) for parts in zip(*steps, strict=True)
        )
        return reads, norms, to_numpy(memory)

    def arguments(self, dtype):
        """What `memorize` takes, but for state and counts."""
        tensor = lambda x: ops.convert_to_tensor(x, dtype)
        weights = [tensor(w) for w in self.weights]
        log = lambda x: None if x is None else tensor(np.log(x))
        keep = None if self.alpha is None else 1 - self.alpha
        tokens = Tokens(
            tensor(self.query),
            tensor(self.key),
            tensor(self.value),
            tensor(self.theta),
            log(self.eta),
            log(keep),
        )
        shared = Shared(
            rates=[tensor(r)[:, None, None] for r in self.rates],
            initial=weights if self.rule.forget_to == "initial" else (),
        )
        start = fresh_memory(weights, self.rows, self.rule.momentum, True)
        return (
            tokens,
            start,
            {
                "shared": shared,
                "recipe": Recipe(
                    self.fast,
                    SquaredError(),
                    self.rule,
                    self.anchor,
                    self.chunk_size,
                ),
                "return_surprise": True,
            },
        )

    def check(self, fast, slow, tolerance=1e-10):
        (reads, norms, memory), (slow_reads, slow_norms, states) = fast, slow
        close(reads, slow_reads, tolerance)
        close(norms, slow_norms, tolerance)
        for (row, head), (weights, momentum, anchor, phase) in states.items():
            kept = [(memory.memory, weights)]
            if self.rule.momentum:
                kept.append((memory.momentum, momentum))
            if phase:
                kept.append((memory.anchor, anchor))
            for have, want in kept:
                for m, w in enumerate(want):
                    close(have[m][row, head], w, tolerance)


def close(have, want, tolerance):
    assert np.all(np.isfinite(have))
    scale = max(1.0, np.max(np.abs(want), initial=0.0))
    assert np.max(np.abs(have - want), initial=0.0) <= tolerance * scale


@given(
    network=st.sampled_from(sorted(NETWORKS)),
    anchor=st.sampled_from(["token", "chunk"]),
    momentum=st.booleans(),
    forgetting=st.booleans(),
    chunk_size=st.integers(1, 6),
    tokens=st.integers(1, 13),
    seed=st.integers(0, 1000),
)
def test_equals_the_definition(
    network, anchor, momentum, forgetting, chunk_size, tokens, seed
):
    rule = UpdateRule(momentum=momentum, forgetting=forgetting)
    case = Case(network, rule, anchor, chunk_size, tokens, seed)
    case.check(case.run_fast(), case.run_slow())


@pytest.mark.parametrize("network", sorted(NETWORKS))
@pytest.mark.parametrize("anchor", ["token", "chunk"])
def test_every_network_equals_the_definition(network, anchor):
    case = Case(network, UpdateRule(), anchor, chunk_size=4, tokens=11, seed=0)
    case.check(case.run_fast(), case.run_slow())


OPTIONS = [
    {"forget_to": "initial"},
    {"read_first": True},
    {"forget_first": True},
    {"forget_first": True, "read_first": True, "momentum": False},
    {"forget_to": "initial", "forget_first": True},
    {"forgetting": False, "momentum": False},
    {"forgetting": False, "momentum": False, "forget_first": True},
    {"max_surprise": 0.7},
]


def cases():
    for options in OPTIONS:
        for anchor in ("token", "chunk"):
            # The layer refuses these two pairs.
            if "forget_first" in options and anchor == "chunk":
                continue
            if "max_surprise" in options and anchor == "token":
                continue
            name = "-".join((*options, anchor))
            yield pytest.param(options, anchor, id=name)


@pytest.mark.parametrize("options, anchor", cases())
def test_options_equal_the_definition(options, anchor):
    rule = UpdateRule(**options)
    case = Case("mlp2-unit", rule, anchor, chunk_size=4, tokens=10, seed=1)
    case.check(case.run_fast(), case.run_slow())


@pytest.mark.parametrize("options, anchor", cases())
def test_steps_equal_the_definition(options, anchor):
    rule = UpdateRule(**options)
    case = Case("mlp2-unit", rule, anchor, chunk_size=3, tokens=10, seed=1)
    mask = np.ones((case.rows, case.tokens), bool)
    mask[0, [0, 4]] = mask[1, 3:6] = False
    case.check(case.run_steps(mask), case.run_slow(mask))


@given(
    network=st.sampled_from(sorted(NETWORKS)),
    anchor=st.sampled_from(["token", "chunk"]),
    chunk_size=st.integers(1, 6),
    tokens=st.integers(1, 9),
    seed=st.integers(0, 1000),
)
def test_steps_of_any_network_equal_the_definition(
    network, anchor, chunk_size, tokens, seed
):
    case = Case(network, UpdateRule(), anchor, chunk_size, tokens, seed)
    mask = case.rng.uniform(size=(case.rows, tokens)) < 0.8
    case.check(case.run_steps(mask), case.run_slow(mask))


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("anchor", ["token", "chunk"])
def test_compiled_equals_the_definition(run_mode, anchor, remat):
    case = Case(
        "mlp2-unit", UpdateRule(), anchor, chunk_size=4, tokens=11, seed=2
    )
    case.check(case.run_fast(run_mode, remat=remat), case.run_slow())


def test_float32_is_close_to_the_definition():
    case = Case(
        "mlp2-unit", UpdateRule(), "token", chunk_size=8, tokens=24, seed=3
    )
    case.check(case.run_fast(dtype="float32"), case.run_slow(), 1e-5)


def test_token_anchor_of_a_matrix_does_not_depend_on_the_chunk_size():
    reads = []
    for chunk_size in (1, 3, 16):
        case = Case(
            "mlp1", UpdateRule(), "token", chunk_size, tokens=16, seed=4
        )
        reads.append(case.run_fast()[0])
    close(reads[1], reads[0], 1e-10)
    close(reads[2], reads[0], 1e-10)


def test_forget_first_is_the_gated_delta_rule():
    """`W = (1 - a) W (I - b k k^T) + b k v^T`, with `b = 2 theta`."""
    rule = UpdateRule(momentum=False, forget_first=True, forget_to="zero")
    case = Case("mlp1", rule, "token", chunk_size=5, tokens=12, seed=5)
    reads = case.run_fast()[0]
    row, head = 1, 1
    w = case.weights[0][head]
    for t in range(case.tokens):
        k, v = case.key[row, t, head], case.value[row, t, head]
        keep, beta = 1 - case.alpha[row, t, head], 2 * case.theta[row, t, head]
        w = keep * (w - beta * np.outer(k, k @ w)) + beta * np.outer(k, v)
        close(reads[row, t, head], case.query[row, t, head] @ w, 1e-10)


def test_extreme_gates_stay_finite():
    """Gates at 0 and 1 to the last bit: nothing overflows or divides."""
    case = Case(
        "mlp2-unit", UpdateRule(), "token", chunk_size=16, tokens=40, seed=6
    )
    case.alpha = np.where(case.alpha > 0.5, 1 - 1e-30, 1e-30)
    case.alpha = np.minimum(case.alpha, 1 - 1e-16)
    case.eta = np.where(case.eta > 0.5, 1.0, 1e-300)
    case.theta = 0.5 * (1 - case.eta)
    case.check(case.run_fast(), case.run_slow())


@pytest.mark.parametrize("anchor", ["token", "chunk"])
def test_a_network_without_a_closed_form(anchor):
    """The base class differentiates what a user writes."""

    class Written(MLPMemory):
        backward = MemoryNetwork.backward

    case = Case("mlp2-unit", UpdateRule(), anchor, 4, tokens=9, seed=7)
    case.fast = Written(2, 1.4, "tanh")
    case.check(case.run_fast(), case.run_slow())


def test_a_state_without_anchor_has_none():
    memory = fresh_memory(
        [ops.zeros((1, 2, 2))], 3, momentum=False, anchor=False
    )
    assert isinstance(memory, Memory)
    assert memory.memory[0].shape == (3, 1, 2, 2)
    assert memory.momentum == () and memory.anchor == ()
