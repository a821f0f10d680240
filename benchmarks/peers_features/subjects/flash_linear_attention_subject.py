"""How flash-linear-attention is called."""

import importlib

from benchmarks.peers_features.sizes import HEADS
from benchmarks.peers_features.sizes import TOKENS
from benchmarks.peers_features.sizes import WIDTH
from benchmarks.peers_features.subjects.subject import Torch


class FlashLinearAttention(Torch):
    """Its gated delta rule: the nearest that it has to a Titans memory.

    Long inputs are read in pieces, which its recurrent kernels take: those for
    chunks cannot be interpreted.
    """

    module = "fla"
    generating = "gated delta"
    piece = 64

    def __init__(self):
        super().__init__()
        if self.torch.cuda.is_available():
            self.device = "cuda"
        else:
            self.interpret()
        layers = importlib.import_module("fla.layers")
        models = importlib.import_module("fla.models")
        caches = importlib.import_module("fla.models.cache_utils")
        self.cache_class = caches.Cache
        shared = {
            "hidden_size": WIDTH,
            "num_heads": HEADS,
            "head_dim": WIDTH // HEADS,
            "expand_v": 1.0,
        }
        config = models.GatedDeltaNetConfig(
            vocab_size=TOKENS,
            num_hidden_layers=2,
            eos_token_id=None,
            bos_token_id=None,
            **shared,
        )
        self.language_model = self.made(
            models.GatedDeltaNetForCausalLM, config=config
        )
        self.models = {"gated delta": self.on_ids(self.language_model)}
        self.memory_class = layers.GatedDeltaNet
        self.settings = {**shared, "layer_idx": 0}
        self.memory = self.made_memory()

    def interpret(self):
        """Without a GPU, `TRITON_INTERPRET` runs kernels; it tunes none."""
        tuner = importlib.import_module("triton.runtime.autotuner")
        tuner.Autotuner._bench = lambda *args, **named: [0.0] * 3

    def layer(self, x, state=None, mask=None):
        mask = None if mask is None else self.tensor(mask.astype("int32"))
        state = self.cache_class() if state is None else state
        size = self.piece if mask is None else x.shape[1]
        outputs = []
        with self.torch.no_grad():
            for piece in self.tensor(x).split(size, dim=1):
                y, _, state = self.memory(
                    piece,
                    attention_mask=mask,
                    past_key_values=state,
                    use_cache=True,
                )
                outputs.append(y)
        return self.array(self.torch.cat(outputs, dim=1)), state

    def carried(self, prompt, text):
        cache, found = None, []
        prompt = self.ids(prompt).split(self.piece, dim=1)
        for piece in (*prompt, *self.ids(text).split(1, dim=1)):
            with self.torch.no_grad():
                out = self.language_model(
                    piece, past_key_values=cache, use_cache=True
                )
            cache = out.past_key_values
            found.append(out.logits[:, -1:])
        found = self.torch.cat(found[len(prompt) - 1 :], dim=1)
        return cache, self.array(found)
