"""A drawn sequence for a memory's functions, and its definition in NumPy."""

import numpy as np
from keras import ops

from keras_titans.memory import Gate
from keras_titans.memory import GatedMLPMemory
from keras_titans.memory import MLPMemory
from keras_titans.memory import SquaredError
from keras_titans.ops.recipe import Recipe
from keras_titans.ops.recipe import Shared
from keras_titans.ops.recipe import Tokens
from keras_titans.ops.sequence import fresh_memory
from tests import reference
from tests.helpers import close

DIM = 3
ROWS = HEADS = 2


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
    yield "gated", GatedMLPMemory(1.4), reference.gated_mlp


NETWORKS = {name: pair for name, *pair in networks()}


class Case:
    """A drawn sequence for a rule, with its definition in NumPy."""

    def __init__(
        self,
        network,
        rule,
        anchor="token",
        chunk_size=4,
        tokens=10,
        seed=0,
        read_first=False,
        objective=None,
    ):
        self.objective = objective or SquaredError()
        self.fast, self.slow = NETWORKS[network]
        self.rule = rule
        self.anchor, self.chunk_size = anchor, chunk_size
        self.read_first = read_first
        self.tokens = tokens
        rng = self.rng = np.random.default_rng(seed)
        shape = (ROWS, tokens, HEADS)
        draw = lambda: rng.normal(size=(*shape, DIM))
        self.query, self.key = reference.unit(draw()), reference.unit(draw())
        self.value = draw()
        self.logits = {
            name: 2.0 * rng.normal(size=shape)
            for name, gate in rule.gates.items()
            if isinstance(gate, Gate)
        }
        shapes = self.fast.map_shapes(DIM)
        self.weights = [0.5 * rng.normal(size=(HEADS, *s)) for s in shapes]
        self.rates = rng.uniform(0.1, 1, (len(shapes) - 1, HEADS))

    def definition(self, mask=None):
        """Reads, norms and states by row and head: `reference.memorize`."""
        shape = (ROWS, self.tokens, HEADS)
        reads, norms = np.zeros((*shape, DIM)), np.zeros(shape)
        gates = reference.theta_eta_alpha(self.rule, self.logits, shape)
        states = {}
        for row, head in np.ndindex(ROWS, HEADS):
            at = (row, slice(None), head)
            reads[at], norms[at], states[row, head] = reference.memorize(
                self.query[at],
                self.key[at],
                self.value[at],
                *(None if gate is None else gate[at] for gate in gates),
                [w[head] for w in self.weights],
                self.slow,
                anchor=self.anchor,
                chunk_size=self.chunk_size,
                rates=[*self.rates[:, head], 1.0],
                mask=None if mask is None else mask[row],
                read_first=self.read_first,
                **reference.rule_options(self.rule),
            )
        return reads, norms, states

    def recipe(self):
        return Recipe(
            self.fast,
            self.objective,
            self.rule,
            self.anchor,
            self.chunk_size,
            self.read_first,
        )

    def arrays(self):
        """All that is differentiated, as a nested structure."""
        return {
            "tokens": (self.query, self.key, self.value, self.logits),
            "initial": self.weights,
            "rates": [r[:, None, None] for r in self.rates],
        }

    def run(self, function, arrays, dtype="float64", anchored=True, **options):
        """`function(tokens, memory, shared, recipe, ...)` of such arrays."""
        arrays = as_tensors(arrays, dtype)
        return function(
            Tokens(*arrays["tokens"]),
            fresh_memory(arrays["initial"], ROWS, self.rule, anchored),
            Shared(arrays["rates"], arrays["initial"]),
            self.recipe(),
            **options,
        )

    def check(self, have, want, tolerance=1e-10):
        """Reads, norms and memory against the definition's."""
        (reads, norms, memory), (slow_reads, slow_norms, states) = have, want
        close(reads, slow_reads, tolerance)
        close(norms, slow_norms, tolerance)
        for (row, head), (weights, momentum, anchor, phase) in states.items():
            kept = [(memory.state["memory"], weights)]
            if "momentum" in memory.state:
                kept.append((memory.state["momentum"], momentum))
            if phase and memory.anchor:
                kept.append((memory.anchor, anchor))
            for have, want in kept:
                for m, w in enumerate(want):
                    close(have[m][row, head], w, tolerance)


def as_tensors(structure, dtype):
    if isinstance(structure, dict):
        return {k: as_tensors(v, dtype) for k, v in structure.items()}
    if isinstance(structure, list | tuple):
        return [as_tensors(v, dtype) for v in structure]
    return ops.convert_to_tensor(structure, dtype)
