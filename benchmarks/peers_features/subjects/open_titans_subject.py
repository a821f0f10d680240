"""How open-titans is called."""

import importlib

from benchmarks.peers_features.sizes import CHUNK
from benchmarks.peers_features.sizes import HEADS
from benchmarks.peers_features.sizes import TOKENS
from benchmarks.peers_features.sizes import WIDTH
from benchmarks.peers_features.subjects.titans_pytorch_subject import (
    TitansPytorch,
)


class OpenTitans(TitansPytorch):
    """Its memory is made from titans-pytorch's, and called alike."""

    module = "open_titans"
    networks_of = "open_titans.modules.memory.memory_model"

    def memory_of(self):
        return importlib.import_module("open_titans.modules").NeuralMemory

    def made_models(self, heads):
        shared = {
            "vocab_size": TOKENS,
            "hidden_size": WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": HEADS,
            "dim_head": WIDTH // HEADS,
            "intermediate_size": 2 * WIDTH,
            "num_persist_mem_tokens": 4,
            "neural_memory_layers": [1, 2],
        }
        settings = {
            "MAC": {"segment_len": CHUNK, "num_longterm_mem_tokens": 4},
            "MAG": {"window_size": CHUNK},
            "MAL": {"window_size": CHUNK},
        }
        made = {}
        for name, special in settings.items():
            place = f"open_titans.models.titans_{name.lower()}"
            config = importlib.import_module(
                f"{place}.configuration_{name.lower()}"
            )
            config = getattr(config, f"Titans{name}Config")
            made[name] = self.made(
                getattr(self.package, f"Titans{name}Model"),
                config=config(**shared, **special),
            )
        return made

    def carried(self, prompt, text):
        """As `generate` does it."""
        cache, found = None, []
        for piece in (prompt, *text.T[..., None]):
            with self.torch.no_grad():
                out = self.language_model(
                    self.ids(piece), cache=cache, return_cache=True
                )
            cache = out.past_key_values
            found.append(out.logits[:, -1:])
        return cache, self.array(self.torch.cat(found, dim=1))
