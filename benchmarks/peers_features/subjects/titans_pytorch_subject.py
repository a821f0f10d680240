"""How titans-pytorch is called."""

from benchmarks.peers_features.sizes import CHUNK
from benchmarks.peers_features.sizes import HEADS
from benchmarks.peers_features.sizes import TOKENS
from benchmarks.peers_features.sizes import WIDTH
from benchmarks.peers_features.subjects.subject import Torch


class TitansPytorch(Torch):
    module = "titans_pytorch"
    generating = "MAC"
    networks_of = "titans_pytorch.memory_models"
    ways_round = {
        "one head": {"heads": 1, "dim_head": WIDTH},
        "heads that start alike": {"per_head_learned_parameters": False},
    }

    def __init__(self):
        super().__init__()
        self.memory_class = self.memory_of()
        heads = {"heads": HEADS, "dim_head": WIDTH // HEADS}
        self.settings = {"dim": WIDTH, "chunk_size": CHUNK, **heads}
        self.memory = self.made_memory()
        made = self.made_models(heads)
        self.models = {name: self.on_ids(made[name]) for name in made}
        self.language_model = made["MAC"]

    def memory_of(self):
        return self.package.NeuralMemory

    def made_models(self, heads):
        mac = self.made(
            self.package.MemoryAsContextTransformer,
            num_tokens=TOKENS,
            dim=WIDTH,
            depth=2,
            segment_len=CHUNK,
            num_persist_mem_tokens=4,
            num_longterm_mem_tokens=4,
            neural_memory_kwargs=heads,
            **heads,
        )
        return {"MAC": mac}

    def layer(self, x, state=None, mask=None):
        mask = None if mask is None else self.tensor(mask)
        with self.torch.no_grad():
            y, state = self.memory(self.tensor(x), state=state, store_mask=mask)
        return self.array(y), state

    def surprise(self, x):
        with self.torch.no_grad():
            *_, (losses, _) = self.memory(self.tensor(x), return_surprises=True)
        return losses.movedim(1, -1)  # (b, n, heads)

    def own_network(self, x):
        torch = self.torch

        class Own(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.map = torch.nn.Parameter(torch.eye(WIDTH // HEADS))

            def forward(self, x):
                return x @ self.map

        return self.with_option(x, model=Own())

    def carried(self, prompt, text):
        """As `sample` does it."""
        ids, cache, found = self.ids(prompt), None, []
        for new in [*text.T, None]:
            logits = None
            while logits is None:
                with self.torch.no_grad():
                    logits, cache = self.language_model(
                        ids,
                        cache=cache,
                        return_cache=True,
                        disable_flex_attn=True,
                    )
            found.append(logits[:, -1:])
            if new is not None:
                new = self.ids(new[:, None])
                ids = self.torch.cat((ids, new), dim=1)
        return cache, self.array(self.torch.cat(found, dim=1))
