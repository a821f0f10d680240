"""The neural long-term memory as a Keras layer."""

import keras
from keras import constraints
from keras import initializers
from keras import ops
from keras import regularizers

from keras_titans.layers.fast_weights import FastWeights
from keras_titans.layers.memory_gates import MemoryGates
from keras_titans.layers.projected_memory import ProjectedMemory
from keras_titans.layers.write_cost import cost_of_writing
from keras_titans.memory.gate import Gate
from keras_titans.memory.gated_delta import GatedDelta
from keras_titans.memory.memory_network import MemoryNetwork
from keras_titans.memory.mlp_memory import MLPMemory
from keras_titans.memory.objective import SquaredError
from keras_titans.memory.objective import check_objective
from keras_titans.memory.titans import Titans
from keras_titans.memory.update_rule import UpdateRule
from keras_titans.ops.recipe import Recipe
from keras_titans.ops.recipe import Tokens
from keras_titans.validation import check_bool
from keras_titans.validation import check_choice
from keras_titans.validation import check_constraint
from keras_titans.validation import check_initializer
from keras_titans.validation import check_instance
from keras_titans.validation import check_positive_integer
from keras_titans.validation import check_regularizer
from keras_titans.validation import if_given

UPDATE_RULES = {"titans": Titans, "gated_delta": GatedDelta}


@keras.saving.register_keras_serializable("keras_titans")
class NeuralMemory(ProjectedMemory):
    """Titans' neural long-term memory.

    A small network in each head whose weights are updated by gradient descent
    on every token, in training and at test time. At token `t`, with the
    key `k_t`, the value `v_t` and the query `q_t`:

        surprise    g_t = grad_W |M(k_t; W') - v_t|^2
        momentum    S_t = eta_t S_{t-1} - theta_t g_t
        memory      W_t = (1 - alpha_t) W_{t-1} + alpha_t W_0 + S_t
        read        y_t = M(q_t; W_t)

    `W_0` is the learned initial memory. The gates theta, eta and alpha depend
    on the token: see `keras_titans.memory.Titans`, the default update rule.

    `W'` is the anchor. With `anchor="token"` it is the memory just before the
    token: exactly so for a matrix and for the last layer of a deeper network,
    whose lower layers stay at the chunk's start. With `anchor="chunk"` it is
    the memory at the start of the token's chunk, as in the paper (section
    3.2). The second diverges where keys of one chunk resemble each other, the
    first does not. Both are computed a chunk at a time, in matrix products.

    Each call starts from the learned initial memory, unless a state is
    passed or the layer is stateful. A state that is returned may be
    continued at any token: pieces of any length equal the whole.

    A token that holds NaN or infinity is NaN in the outputs and in the
    diagnostics. The memory takes it for a masked token, and the convolutions
    for zeros, so that other tokens and the state stay finite.

    Args:
        num_heads: int. Number of memories. Defaults to one for each 64
            channels of the input, and at least one. The attribute is `None`
            until the layer is built then.
        head_dim: int. Width of each head's queries, keys and values. It does
            not depend on the input's width. The wider the keys, the less one
            write disturbs what others left. Defaults to `64`.
        network: A `keras_titans.memory.MemoryNetwork`. What is memorised
            into. Defaults to an `MLPMemory` of `memory_depth` layers.
        memory_depth: int. Number of linear layers of the default network
            (L_M). 1 is a matrix, the associative memory of linear attention:
            the fastest, and the best that we measured. The paper's is 2. Not
            together with `network`. Defaults to `1`.
        chunk_size: int. Tokens per chunk. It decides what is computed, except
            for a matrix with `anchor="token"`, where it decides the speed
            alone. Defaults to `64`.
        anchor: `"token"` or `"chunk"`: see above. Defaults to `"token"`.
        update_rule: A `keras_titans.memory.UpdateRule`, or `"titans"` or
            `"gated_delta"`. How a gradient changes the memory, with the
            gates. Defaults to `"titans"`.
        objective: A `keras_titans.memory.Objective`. Defaults to
            `SquaredError()`.
        read_first: bool. Whether a token reads before it is written. Defaults
            to `False`.
        kernel_size: int. Taps of the short causal convolutions after the
            query, key and value projections. 1 for none. Defaults to `4`.
        use_bias: bool. Whether the projections have biases. The gates always
            do. Defaults to `False`.
        kernel_initializer, bias_initializer: Keras initializers of the
            projections. Default to `"glorot_uniform"` and `"zeros"`.
        memory_initializer: A Keras initializer of the initial memory, one
            matrix `(inputs, heads * outputs)` for each linear layer. Defaults
            to `"lecun_normal"`.
        kernel_regularizer, bias_regularizer, memory_regularizer: Keras
            regularizers of the same. Default to `None`.
        kernel_constraint, bias_constraint, memory_constraint: Keras
            constraints of the same. Default to `None`.
        remat: bool. Whether training recomputes, and does not keep, what the
            backward pass needs within each chunk. Defaults to `True`.
        return_state: bool. Whether to return the state after the outputs.
            Defaults to `False`.
        stateful: bool. Whether a call starts where the last one ended.
            Defaults to `False`.
        **kwargs: `name`, `dtype` and so on, for `keras.layers.Layer`.

    Call arguments:
        inputs: `(batch, length, width)`, any length.
        mask: Boolean, `(batch, length)`. A token that is masked changes
            nothing, wherever it stands.
        initial_state: A state as returned by an earlier call or by
            `get_initial_state`.
        training: Whether the call is one of training. The memory is updated
            either way.
        update: Whether the memory is written. If False it is only read.
        return_diagnostics: Whether to return a dictionary after the outputs:
            `"surprise"`, the norm of each token's gradient, and each gate of
            the update rule by its name, such as `"learning_rate"`, all
            `(batch, length, num_heads)`; what was read (`"read"`) and what
            was written (`"value"`), `(batch, length, num_heads, head_dim)`.
        return_state: Whether to return the state after all else, if not as
            constructed.

    Returns:
        The outputs `(batch, length, width)` in the compute dtype; where asked
        for, the diagnostics; where `return_state`, the state: a dictionary of
        tensors with the batch on axis 0, float32 (`"phase"`: int32).

    Example:

    ```python
    import keras
    import keras_titans

    inputs = keras.Input((None, 64))
    outputs = keras_titans.layers.NeuralMemory(num_heads=4)(inputs)
    model = keras.Model(inputs, outputs)

    layer = keras_titans.layers.NeuralMemory(num_heads=4, return_state=True)
    x = keras.random.normal((2, 100, 64))
    first, state = layer(x[:, :70])
    second, state = layer(x[:, 70:], initial_state=state)
    ```

    References:
        - [Titans: Learning to Memorize at Test Time](
            https://arxiv.org/abs/2501.00663), section 3
    """

    def __init__(
        self,
        num_heads=None,
        head_dim=None,
        network=None,
        memory_depth=None,
        chunk_size=64,
        anchor="token",
        update_rule="titans",
        objective=None,
        read_first=False,
        memory_initializer="lecun_normal",
        memory_regularizer=None,
        memory_constraint=None,
        kernel_size=4,
        use_bias=False,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        remat=True,
        return_state=False,
        stateful=False,
        **kwargs,
    ):
        super().__init__(
            num_heads,
            head_dim,
            kernel_size=kernel_size,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
            remat=remat,
            return_state=return_state,
            stateful=stateful,
            **kwargs,
        )
        self.network = _network(network, memory_depth)
        self.chunk_size = check_positive_integer("chunk_size", chunk_size)
        self.anchor = check_choice("anchor", anchor, ("token", "chunk"))
        self.update_rule = _update_rule(update_rule)
        self.objective = SquaredError()
        if objective is not None:
            self.objective = check_objective("objective", objective)
        self.read_first = check_bool("read_first", read_first)
        self.memory_initializer = check_initializer(
            "memory_initializer", memory_initializer
        )
        self.memory_regularizer = check_regularizer(
            "memory_regularizer", memory_regularizer
        )
        self.memory_constraint = check_constraint(
            "memory_constraint", memory_constraint
        )
        self.core = FastWeights(
            Recipe(
                self.network,
                self.objective,
                self.update_rule,
                self.anchor,
                self.chunk_size,
                self.read_first,
            ),
            self.memory_initializer,
            self.memory_regularizer,
            self.memory_constraint,
            dtype=self.state_dtype,
            name="fast_weights",
        )

    @classmethod
    def paper(cls, num_heads=None, head_dim=None, **kwargs):
        """The memory as the paper describes it: deep, with its own gates.

        Two layers with GELU, gradients at the start of each chunk, a learning
        rate that is not normalised, momentum up to 1, and forgetting towards
        zero. It can diverge where keys resemble each other.

        Args:
            num_heads, head_dim: int. As the constructor's.
            **kwargs: Other arguments of the constructor.

        Example:

        ```python
        layer = keras_titans.layers.NeuralMemory.paper(num_heads=2)
        ```

        References:
            - [Titans: Learning to Memorize at Test Time](
                https://arxiv.org/abs/2501.00663), section 3
        """
        rule = Titans(
            learning_rate=Gate(maximum=0.1, logit_scale=1.0),
            momentum=Gate(logit_scale=1.0),
            forgetting=Gate(initial=0.001, logit_scale=1.0),
            normalize_learning_rate=False,
            forget_to="zero",
        )
        network = MLPMemory(
            2, activation="gelu", unit_norm=False, hidden_rate=1.0
        )
        options = {"network": network, "anchor": "chunk", "update_rule": rule}
        return cls(num_heads, head_dim, **(options | kwargs))

    def build_gates(self, input_shape):
        self.gates = MemoryGates(
            self.num_heads,
            self.update_rule,
            dtype=self.state_dtype,
            name="gates",
        )
        self.gates.build(input_shape)

    def remember(
        self, x, projected, state, count, finite, return_diagnostics, remat
    ):
        query, key, value = projected
        logits = self.gates(x)
        read, norms, after = self.core.write_and_read(
            Tokens(query, key, value, logits),
            finite,
            state,
            count,
            return_norms=return_diagnostics,
            remat=remat,
        )
        if not return_diagnostics:
            return read, None, after
        gates = self.update_rule.values(logits, query[..., 0])
        values = {name: gates[name].value for name in self.gate_names}
        return read, {"surprise": norms, **values}, after

    @property
    def gate_names(self):
        return list(self.update_rule.gates)

    @property
    def has_write_cost(self):
        return self.update_rule.has_write_cost

    def cost_of_writing(self, diagnostics, mask):
        """What a call's writes cost, from its diagnostics."""
        gates = {name: diagnostics[name] for name in self.gate_names}
        return cost_of_writing(self.update_rule, gates, mask)

    def get_initial_state(self, batch_size):
        """The state before anything was read: the learned initial memory.

        Args:
            batch_size: Number of rows.

        Returns:
            A dictionary: `"memory"`, and what else the update rule carries,
            such as `"momentum"`, each a list with a `(batch, num_heads,
            inputs, outputs)` tensor for every linear layer of the network;
            `"convolution"`, where there is one, the last inputs `(batch,
            kernel_size - 1, num_heads * head_dim)` of the query's, the key's
            and the value's. Where chunks decide what is computed, also
            `"anchor"`, the memory at the chunk's start, and `"phase"`,
            `(batch,)`, int32, the tokens already seen of the chunk.
        """
        return super().get_initial_state(batch_size)

    def begins_anew_every(self, length):
        return not self.core.has_chunks or length % self.chunk_size == 0

    def between_chunks(self, state):
        # Smaller, and faster, as nothing must be shifted.
        return {
            name: entry
            for name, entry in state.items()
            if name not in ("anchor", "phase")
        }

    def begin_chunk(self, state, rows):
        if not self.core.has_chunks:
            return state
        return {**state, "phase": ops.where(rows, 0, state["phase"])}

    def get_config(self):
        config = super().get_config()
        for name in ("network", "update_rule", "objective"):
            config[name] = keras.saving.serialize_keras_object(
                getattr(self, name)
            )
        for kind, module in (
            ("initializer", initializers),
            ("regularizer", regularizers),
            ("constraint", constraints),
        ):
            name = f"memory_{kind}"
            config[name] = module.serialize(getattr(self, name))
        for name in ("chunk_size", "anchor", "read_first"):
            config[name] = getattr(self, name)
        return config  # without `memory_depth`, which the network tells


def _network(network, memory_depth):
    """The network that is passed, or the default one of that depth."""
    depth = if_given(check_positive_integer, "memory_depth", memory_depth)
    if network is None:
        return MLPMemory(1 if depth is None else depth)
    network = check_instance("network", network, MemoryNetwork)
    if depth is not None:
        raise ValueError(
            "Argument `memory_depth` is the depth of the default network: "
            "pass it or `network`, not both. Received: "
            f"network={network!r}, memory_depth={memory_depth}."
        )
    return network


def _update_rule(rule):
    """A rule, from itself, its name or its serialised form."""
    if isinstance(rule, str):
        return UPDATE_RULES[check_choice("update_rule", rule, UPDATE_RULES)]()
    return check_instance("update_rule", rule, UpdateRule)
