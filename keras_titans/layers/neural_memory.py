"""The neural long-term memory as a Keras layer."""

import keras
from keras import constraints
from keras import initializers
from keras import ops
from keras import regularizers

from keras_titans.layers.fast_weights import FastWeights
from keras_titans.layers.memory_gates import MemoryGates
from keras_titans.layers.projected_memory import ProjectedMemory
from keras_titans.layers.watching import WITH_GATES
from keras_titans.layers.watching import WITH_READING
from keras_titans.layers.write_cost import mean_over_tokens
from keras_titans.memory.memory_network import MemoryNetwork
from keras_titans.memory.mlp_memory import MLPMemory
from keras_titans.memory.objective import SquaredError
from keras_titans.memory.objective import check_objective
from keras_titans.memory.update_rule import UpdateRule
from keras_titans.ops.finite import finite_first
from keras_titans.ops.recipe import Recipe
from keras_titans.ops.sequence import Tokens
from keras_titans.validation import check_choice
from keras_titans.validation import check_constraint
from keras_titans.validation import check_initializer
from keras_titans.validation import check_instance
from keras_titans.validation import check_positive_integer
from keras_titans.validation import check_regularizer
from keras_titans.validation import if_given


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

    `W_0` is the learned initial memory; the paper's equation has no
    `alpha_t W_0` (`UpdateRule(forget_to="zero")`). `W'` is the anchor. With
    `anchor="chunk"` it is the memory at the start of the token's chunk, as in
    the paper (section 3.2). With `anchor="token"` it is the memory just before
    the token: exactly so for a memory of depth 1 and for the last map of a
    deeper one, whose lower maps stay at the chunk's start. The first diverges
    where keys of one chunk resemble each other, the second does not. Either is
    computed a chunk at a time, in matrix products.

    Each call starts from the learned initial memory, unless a state is
    passed or the layer is stateful. A state that is returned may be
    continued at any token: pieces of any length equal the whole.

    A token that holds NaN or infinity is NaN in the outputs and in the
    surprises. The memory takes it for a masked token, and the convolutions
    for zeros, so that other tokens and the state stay finite.

    Args:
        num_heads: Number of memories, each with its own share of the width.
        head_dim: Width of each head's queries, keys and values. By default
            the input's width divided by `num_heads`. The wider the keys, the
            less one write disturbs what others left: where that share is
            small, try 64.
        network: What is memorised into, a `keras_titans.memory.MemoryNetwork`.
            By default an `MLPMemory` of `memory_depth` maps.
        memory_depth: Number of dense maps of the default network (L_M), by
            default 2. 1 is a matrix, the associative memory of linear
            attention: cheaper, and in small models to be tried first. Not
            together with `network`.
        chunk_size: Tokens to a chunk. Part of the model's meaning, not only
            of its speed, except for depth 1 with `anchor="token"`.
        anchor: `"token"` or `"chunk"`: see above.
        update_rule: A `keras_titans.memory.UpdateRule`: the gates.
        objective: A `keras_titans.memory.Objective`, by default the squared
            error.
        kernel_size: Taps of the short causal convolutions after the query,
            key and value projections. 1 for none.
        use_bias: Whether the projections have biases. The gates always do.
        kernel_initializer, bias_initializer: For the projections.
        memory_initializer: For the initial memory, one matrix
            `(inputs, heads * outputs)` for each dense map.
        kernel_regularizer, bias_regularizer, memory_regularizer: Likewise.
        kernel_constraint, bias_constraint, memory_constraint: Likewise.
        remat: Whether training recomputes, and does not keep, what the
            backward pass needs within each chunk.
        return_state: Whether to return the state after the outputs.
        stateful: Whether a call starts where the last one ended.
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
        return_surprise: Whether to return, after the outputs, the norm of
            each token's surprise, `(batch, length, num_heads)`. With
            `"with_gates"`, behind them on the last axis, the gates that are
            in use: theta, eta and alpha, each `num_heads` wide. With
            `"with_reading"`, behind those what was read and then what was
            written as the value, each `num_heads * head_dim` wide.
        return_state: Whether to return the state after all else, if not as
            constructed.

    Returns:
        The outputs `(batch, length, width)` in the compute dtype; where asked
        for, the surprises; where `return_state`, the state: a dictionary of
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
        num_heads,
        head_dim=None,
        network=None,
        memory_depth=None,
        chunk_size=64,
        anchor="token",
        update_rule=None,
        objective=None,
        memory_initializer="lecun_normal",
        memory_regularizer=None,
        memory_constraint=None,
        **kwargs,
    ):
        super().__init__(num_heads, head_dim, **kwargs)
        self.network = _network(network, memory_depth)
        self.chunk_size = check_positive_integer("chunk_size", chunk_size)
        self.anchor = check_choice("anchor", anchor, ("token", "chunk"))
        self.update_rule = UpdateRule()
        if update_rule is not None:
            self.update_rule = check_instance(
                "update_rule", update_rule, UpdateRule
            )
        self.objective = SquaredError()
        if objective is not None:
            self.objective = check_objective("objective", objective)
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
            ),
            self.memory_initializer,
            self.memory_regularizer,
            self.memory_constraint,
            dtype=self.state_dtype,
            name="fast_weights",
        )
        self.gates = MemoryGates(
            self.num_heads,
            self.update_rule,
            self.objective.slope,
            dtype=self.state_dtype,
            name="gates",
        )

    def build(self, input_shape):
        super().build(input_shape)
        self.gates.build(input_shape)

    def remember(
        self, x, projected, state, count, finite, return_surprise, remat
    ):
        gates = self.gates(x)
        tokens, count, back = finite_first([*projected, *gates], finite, count)
        read, surprise, after = self.core(
            Tokens(*tokens),
            state,
            count,
            return_surprise=bool(return_surprise),
            remat=remat,
        )
        read = back(read)
        if surprise is not None:
            surprise = back(surprise)
        if return_surprise in (WITH_GATES, WITH_READING):
            surprise = ops.concatenate([surprise, *_plain(*gates)], axis=-1)
        return read, surprise, after

    @property
    def gate_names(self):
        rule = self.update_rule
        momentum = ["momentum"] if rule.momentum else []
        forgetting = ["forgetting"] if rule.forgetting else []
        return ["learning_rate", *momentum, *forgetting]

    @property
    def write_cost(self):
        return self.update_rule.write_cost

    def cost_of_writing(self, told, mask):
        """What the tokens' writes cost, from `"with_gates"`'s surprises."""
        heads = self.num_heads
        starts = [heads * (i + 1) for i in range(len(self.gate_names))]
        gates = [told[..., start : start + heads] for start in starts]
        opening = self.update_rule.opening(gates, self.objective.slope)
        return self.write_cost * mean_over_tokens(opening, mask)

    def get_initial_state(self, batch_size):
        """The state before anything was read: the learned initial memory.

        Args:
            batch_size: Number of rows.

        Returns:
            A dictionary: `"memory"` and `"anchor"`, and `"momentum"` where
            the update rule has it, each a list with a `(batch, num_heads,
            inputs, outputs)` tensor for every dense map of the network;
            `"phase"`, `(batch,)`, int32, the tokens already seen of the
            current chunk; `"convolution"`, where there is one, the last
            inputs `(batch, kernel_size - 1, num_heads * head_dim)` of the
            query's, the key's and the value's.
        """
        return super().get_initial_state(batch_size)

    def begins_anew_every(self, length):
        return length % self.chunk_size == 0

    def between_chunks(self, state):
        # Smaller, and faster, as nothing must be shifted.
        return {
            name: entry
            for name, entry in state.items()
            if name not in ("anchor", "phase")
        }

    def begin_chunk(self, state, rows):
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
        for name in ("chunk_size", "anchor"):
            config[name] = getattr(self, name)
        return config  # without `memory_depth`, which the network tells


def _plain(theta, log_momentum, log_retention):
    """Theta, eta and alpha, as many as there are."""
    gates = [theta]
    if log_momentum is not None:
        gates.append(ops.exp(log_momentum))
    if log_retention is not None:
        gates.append(-ops.expm1(log_retention))
    return gates


def _network(network, memory_depth):
    """The network that is passed, or the default one of that depth."""
    depth = if_given(check_positive_integer, "memory_depth", memory_depth)
    if network is None:
        return MLPMemory() if depth is None else MLPMemory(depth)
    network = check_instance("network", network, MemoryNetwork)
    if depth is not None:
        raise ValueError(
            "Argument `memory_depth` is the depth of the default network: "
            "pass it or `network`, not both. Received: "
            f"network={network!r}, memory_depth={memory_depth}."
        )
    return network
