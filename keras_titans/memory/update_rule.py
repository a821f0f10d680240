"""How a surprise becomes a change of the memory: its gates and their forms."""

import math

import keras
from keras import ops

from keras_titans.validation import check_at_most_one
from keras_titans.validation import check_bool
from keras_titans.validation import check_choice
from keras_titans.validation import check_cost
from keras_titans.validation import check_fractions
from keras_titans.validation import check_positive
from keras_titans.validation import check_threshold
from keras_titans.validation import if_given

SMALLEST_ROOM = 1e-6


@keras.saving.register_keras_serializable("keras_titans")
class UpdateRule:
    """Gradient descent with momentum and forgetting (equations 13 and 14).

    For every token `t` and every head, with the surprise `g_t`:

        S_t = eta_t * S_{t-1} - theta_t * g_t
        W_t = (1 - alpha_t) * W_{t-1} + alpha_t * W_0 + S_t

    What is forgotten makes room for the learned initial memory, `W_0`; with
    `forget_to="zero"`, as in the paper, for nothing.

    The learning rate (theta), momentum (eta) and forgetting (alpha) are
    sigmoids of the token, times their largest values. Switched off, a
    learning rate is constant, and momentum and forgetting are 0.

    A surprise ends up in the memory `1 / (1 - eta)` times over, beside what
    the token has it forget. So by default

        theta = beta * (1 - eta) * (1 - alpha) / slope

    where `beta = max_learning_rate * sigmoid(.)` and `slope` is the
    objective's (2 for the squared error); without `1 - alpha` where the
    surprise is measured after forgetting. Then one write moves what is read
    at a unit key by the fraction `beta` of the error.

    Every write wears away a little of all that was written before. Where few
    tokens are worth keeping among very many, start with a small learning
    rate, and let it be 0: with a `write_threshold`, what the sigmoid has
    above it counts,

        beta = max_learning_rate * max(sigmoid(.) - threshold, 0)
               / (1 - threshold)

    And let writing cost something: in training, `write_cost` times the mean
    of `beta / max_learning_rate` over tokens and heads is added to the loss.
    A token that helps nothing later is then not written, whereas without it
    nothing in a short training row tells a gate to close.

    That the gates change from token to token asks for more: what was written
    at a small momentum may be carried on by larger ones, past its aim, to be
    corrected by a larger write, and so on for ever. A matrix memory stays
    bounded, whatever the tokens, as long as

        max_learning_rate * max_momentum / (1 - max_momentum) <= 1

    as it is by default. With a longer momentum and a small rate (0.9 and
    0.1) it does so too; with a longer momentum alone, most tokens are kind.

    Args:
        learning_rate: Whether the learning rate depends on the token. If
            not, it is `max_learning_rate`.
        momentum: Whether surprises have momentum.
        forgetting: Whether the memory forgets.
        normalize_learning_rate: If False, `theta = beta`, the paper's. It
            diverges where `slope * theta / (1 - eta)` exceeds 2, and may do
            so before.
        max_learning_rate: The upper end of the learning rate.
        write_threshold: In [0, 1): a token whose sigmoid is not above it is
            not written at all. At 0 every token is, a little. The gate's
            gradient goes on below it, so that what is closed may open.
        write_cost: What the mean write counts in training, in the units of
            the loss: see above. Needs a learning rate that depends on the
            token. It makes training slower, as surprises are computed.
        max_momentum: The upper end of the momentum, at most 1, as the
            paper's is.
        initial_learning_rate: Where the learning rate starts, as a fraction
            of `max_learning_rate`. From 0.1, a memory learns sooner which
            few tokens are worth writing. This and the next two: a number, or
            a pair for the first head and the last, with the logits of those
            between in equal steps; a single head has the first's.
        initial_momentum: Where momentum starts, as a fraction of
            `max_momentum`.
        initial_forgetting: Where forgetting starts, in (0, 1). At `1e-5`
            half of what was written is left after 70,000 tokens, at `1e-2`
            after 70.
        gate_scale: How steep the gates are: a gate's logit is `gate_scale * x
            W + b`, and `W` starts so much smaller: gates that start alike
            and learn faster.
        hidden_rate: Where the learned rates of the maps below the last one
            start, as multiples of the last one's. Features that move fast
            make unreadable what was written through them.
        forget_to: What forgetting decays towards: `"initial"`, the learned
            memory that a sequence starts with, or `"zero"`, as in the paper.
        forget_first: Measure the surprise after the token's forgetting, as
            the gated delta rule does, and not before, as Titans do. Needs
            `anchor="token"`.
        read_first: Read at token `t` before its own write.
        max_surprise: The largest norm of one token's surprise; a larger one
            is scaled down to it. Needs `anchor="chunk"`.

    Example:

    The gated delta rule:

    ```python
    layer = keras_titans.layers.NeuralMemory(
        num_heads=2,
        head_dim=8,
        memory_depth=1,
        update_rule=keras_titans.memory.UpdateRule(
            momentum=False, forget_first=True, forget_to="zero"
        ),
    )
    ```
    """

    def __init__(
        self,
        learning_rate=True,
        momentum=True,
        forgetting=True,
        normalize_learning_rate=True,
        max_learning_rate=1.0,
        write_threshold=0.0,
        write_cost=0.0,
        max_momentum=0.5,
        initial_learning_rate=0.5,
        initial_momentum=0.5,
        initial_forgetting=1e-5,
        gate_scale=5.0,
        hidden_rate=0.1,
        forget_to="initial",
        forget_first=False,
        read_first=False,
        max_surprise=None,
    ):
        self.learning_rate = _switch(
            "learning_rate", learning_rate, "max_learning_rate"
        )
        self.momentum = _switch("momentum", momentum, "max_momentum")
        self.forgetting = _switch(
            "forgetting", forgetting, "initial_forgetting"
        )
        self.normalize_learning_rate = check_bool(
            "normalize_learning_rate", normalize_learning_rate
        )
        self.max_learning_rate = check_positive(
            "max_learning_rate", max_learning_rate
        )
        self.write_threshold = check_threshold(
            "write_threshold", write_threshold
        )
        self.write_cost = check_cost("write_cost", write_cost)
        self.max_momentum = check_at_most_one("max_momentum", max_momentum)
        self.initial_learning_rate = check_fractions(
            "initial_learning_rate", initial_learning_rate
        )
        self.initial_momentum = check_fractions(
            "initial_momentum", initial_momentum
        )
        self.initial_forgetting = check_fractions(
            "initial_forgetting", initial_forgetting
        )
        self.gate_scale = check_positive("gate_scale", gate_scale)
        self.hidden_rate = check_positive("hidden_rate", hidden_rate)
        self.forget_to = check_choice(
            "forget_to", forget_to, ("zero", "initial")
        )
        self.forget_first = check_bool("forget_first", forget_first)
        self.read_first = check_bool("read_first", read_first)
        self.max_surprise = if_given(
            check_positive, "max_surprise", max_surprise
        )
        if write_cost and not learning_rate:
            raise ValueError(
                "Argument `write_cost` must be 0 where the learning rate is "
                f"constant. Received: write_cost={write_cost}, "
                f"learning_rate={learning_rate}."
            )

    def initial_logits(self):
        """Where the logit of each gate in use starts, by the gate's name.

        A number, or a pair for the first head and the last, with those
        between in equal steps.
        """
        open_by = lambda share: (
            self.write_threshold + (1.0 - self.write_threshold) * share
        )
        starts = {}
        if self.learning_rate:
            sigmoid = _of_each(open_by, self.initial_learning_rate)
            starts["learning_rate"] = _of_each(_logit, sigmoid)
        if self.momentum:
            starts["momentum"] = _of_each(_logit, self.initial_momentum)
        if self.forgetting:
            starts["forgetting"] = _of_each(_logit, self.initial_forgetting)
        return starts

    def gates(self, logits, slope):
        """The gates from their logits.

        Args:
            logits: One tensor for each name in `initial_logits()`.
            slope: The objective's.

        Returns:
            `theta`, `log(eta)`, `log(1 - alpha)`, shaped as the logits. A
            gate that is off is None; a constant `theta` is a number where
            momentum does not enter it.
        """
        theta = self.max_learning_rate
        if self.learning_rate:
            above = ops.sigmoid(logits["learning_rate"]) - self.write_threshold
            theta = theta / (1.0 - self.write_threshold) * _opening(above)
        log_momentum = log_retention = None
        if self.momentum:
            log_momentum = ops.log_sigmoid(logits["momentum"])
            log_momentum += math.log(self.max_momentum)
        if self.forgetting:
            log_retention = ops.log_sigmoid(-logits["forgetting"])
        if self.normalize_learning_rate:
            theta = theta / slope
            if self.momentum:
                # 1 - eta, exact also where eta is nearly 1.
                below = (1.0 - self.max_momentum) + (
                    self.max_momentum * ops.sigmoid(-logits["momentum"])
                )
                theta = theta * below
            if self.forgetting and not self.forget_first:
                theta = theta * ops.sigmoid(-logits["forgetting"])
        return theta, log_momentum, log_retention

    def opening(self, gates, slope):
        """How far learning rates are open, `beta / max_learning_rate`.

        Args:
            gates: Theta, then eta and alpha where they are in use.
            slope: The objective's.

        Returns:
            A tensor in [0, 1], shaped as theta.
        """
        theta, *others = gates
        scale = 1.0 / self.max_learning_rate
        room = 1.0
        if self.normalize_learning_rate:
            scale *= slope
            if self.momentum:
                room = room * (1.0 - others[0])
            if self.forgetting and not self.forget_first:
                room = room * (1.0 - others[-1])
        # Theta is 0 where nothing of the room is left.
        return scale * theta / ops.maximum(room, SMALLEST_ROOM)

    def bound(self, deltas, norms):
        """The gradients of tokens whose surprise is too large, scaled down."""
        if self.max_surprise is None:
            return deltas
        scale = self.max_surprise / ops.maximum(norms, self.max_surprise)
        return [delta * scale[..., None] for delta in deltas]

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "momentum": self.momentum,
            "forgetting": self.forgetting,
            "normalize_learning_rate": self.normalize_learning_rate,
            "max_learning_rate": self.max_learning_rate,
            "write_threshold": self.write_threshold,
            "write_cost": self.write_cost,
            "max_momentum": self.max_momentum,
            "initial_learning_rate": self.initial_learning_rate,
            "initial_momentum": self.initial_momentum,
            "initial_forgetting": self.initial_forgetting,
            "gate_scale": self.gate_scale,
            "hidden_rate": self.hidden_rate,
            "forget_to": self.forget_to,
            "forget_first": self.forget_first,
            "read_first": self.read_first,
            "max_surprise": self.max_surprise,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _opening(above):
    """`relu(above)`, whose slope is 1 on either side.

    The slope of `relu` is 0 where it is 0, and a closed gate would stay
    closed for ever. So it hears what a little opening would bring.
    """
    return above + ops.stop_gradient(ops.relu(above) - above)


def _switch(name, value, number):
    """A switch that is easily taken for the number."""
    return check_bool(name, value, f"A number is for `{number}`. ")


def _of_each(function, start):
    """Of a number, or of both of a pair."""
    if isinstance(start, list):
        return [function(one) for one in start]
    return function(start)


def _logit(p):
    return math.log(p / (1.0 - p))
