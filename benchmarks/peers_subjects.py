"""The packages that `peers_features.py` compares, each called in its own way.

A subject has `models`, for each variant of the paper that the package has a
function of ids to outputs, and `layer`, its memory alone. What else a package
offers is asked of its signatures and names by the checks, and not said here.

b: batch, n: length, d: width.
"""

import importlib
import os

import numpy as np

WIDTH, HEADS, CHUNK, TOKENS = 32, 2, 16, 64


class Subject:
    """A package. `layer(x, state, mask)` gives the outputs and a state."""

    module = None  # what is imported
    models = {}  # variant -> a function of ids (b, n) to outputs (b, n, ...)
    generating = None  # the variant that is asked to generate
    language_model = None
    memory_class = None
    networks = ()  # what can be memorised into, by name
    networks_of = None  # or the module that has them
    ways_round = {}  # options to train with, where the usual do not


class Torch(Subject):
    """What holds for all of PyTorch's: arrays in and out, one thread."""

    device = "cpu"
    call_name = "forward"

    def __init__(self):
        import torch

        self.torch = torch
        torch.set_num_threads(1)
        self.package = importlib.import_module(self.module)

    def made(self, make, **settings):
        """A module, always the same, that is not being trained."""
        self.torch.manual_seed(0)
        return make(**settings).to(self.device).eval()

    def made_memory(self, **option):
        return self.made(self.memory_class, **{**self.settings, **option})

    def tensor(self, x):
        return self.torch.tensor(x, device=self.device)

    def ids(self, x):
        return self.tensor(x).long()

    def array(self, outputs):
        """The outputs alone, whatever they are wrapped in."""
        if isinstance(outputs, dict) and not hasattr(outputs, "logits"):
            outputs = outputs["logits"]
        outputs = getattr(outputs, "logits", outputs)
        if isinstance(outputs, tuple):
            outputs = outputs[0]
        return outputs.detach().cpu().numpy()

    def read(self, model, inputs):
        with self.torch.no_grad():
            return self.array(model(inputs))

    def on_ids(self, model):
        return lambda ids: self.read(model, self.ids(ids))

    def on_vectors(self, model):
        """For a model of vectors: a fixed vector for each id."""
        vectors = np.random.default_rng(1).normal(size=(TOKENS, WIDTH))
        vectors = self.tensor(vectors.astype("float32"))
        return lambda ids: self.read(model, vectors[self.ids(ids)])

    def with_option(self, x, **option):
        return self.read(self.made_memory(**option), self.tensor(x))

    def loss(self, memory, x):
        outputs = memory(self.tensor(x))
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        return outputs.square().sum()

    def trained(self, x, **option):
        """The memory's outputs after a step of Adam."""
        memory = self.made_memory(**option).train()
        optimizer = self.torch.optim.Adam(memory.parameters(), 0.01)
        self.loss(memory, x).backward()
        optimizer.step()
        return self.read(memory.eval(), self.tensor(x))

    def gradients(self, x):
        """Which of the memory's weights the outer gradient reaches.

        Those that the outputs do not depend on are left out, and second names
        of the same numbers.
        """
        memory = self.made_memory().train()
        self.loss(memory, x).backward()
        memory.eval()
        weights = dict(memory.named_parameters())
        found = {
            name: weight.grad is not None and bool(weight.grad.abs().sum() > 0)
            for name, weight in weights.items()
        }
        reached = {weights[name].data_ptr() for name in found if found[name]}
        before = self.read(memory, self.tensor(x))
        for name, weight in weights.items():
            if not found[name] and (
                weight.data_ptr() in reached
                or not self.matters(memory, weight, x, before)
            ):
                del found[name]
        return found

    def matters(self, memory, weight, x, before):
        kept = weight.data.clone()
        weight.data += self.torch.rand_like(weight)
        after = self.read(memory, self.tensor(x))
        weight.data.copy_(kept)
        return bool((after != before).any())


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


class TitansUnofficial(Torch):
    module = "titans"

    def __init__(self):
        super().__init__()
        titans = self.package
        shared = {
            "d_model": WIDTH,
            "n_layers": 2,
            "n_heads": HEADS,
            "persistent_tokens": 4,
            "window_size": CHUNK,
        }
        made = {
            "MAC": self.made(titans.TitansMAC, chunk_size=CHUNK, **shared),
            "MAG": self.made(titans.TitansMAG, **shared),
            "MAL": self.made(titans.TitansMAL, **shared),
        }
        self.models = {name: self.on_vectors(made[name]) for name in made}
        self.language_model = made["MAC"]
        memory = importlib.import_module("titans.utils.memory")
        self.memory_class = memory.NeuralMemoryModule
        self.settings = {"d_model": WIDTH}
        self.memory = self.made_memory()

    def layer(self, x, state=None, mask=None):
        with self.torch.no_grad():
            y, state = self.memory(self.tensor(x), state)
        return self.array(y), state


class TitansTrainer(Torch):
    module = "titans_trainer"

    def __init__(self):
        super().__init__()
        self.language_model = self.made(
            self.package.TitansModel,
            vocab_size=TOKENS,
            d_model=WIDTH,
            n_layers=2,
            n_heads=HEADS,
            n_persistent=4,
            chunk_size=CHUNK,
            causal=True,
        )
        self.models = {"MAC": self.on_ids(self.language_model)}
        self.memory_class = self.package.NeuralMemory
        self.settings = {"d_model": WIDTH, "chunk_size": CHUNK}
        self.memory = self.made_memory()

    def layer(self, x, state=None, mask=None):
        return self.read(self.memory, self.tensor(x)), None

    def surprise(self, x):
        return self.memory(self.tensor(x), return_surprise=True)[1].detach()


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


class KerasTitans(Subject):
    """Ours, on the engine that `KERAS_BACKEND` names."""

    module = "keras_titans"
    generating = "MAC"
    call_name = "call"
    networks_of = "keras_titans.memory"

    def __init__(self):
        import keras

        import keras_titans

        self.keras, self.package = keras, keras_titans
        keras.utils.set_random_seed(0)
        made = {name: self.causal_lm(name) for name in ("MAC", "MAG", "MAL")}
        self.models = {name: self.on_ids(made[name]) for name in made}
        self.language_model = made["MAC"]
        self.memory_class = keras_titans.layers.NeuralMemory
        self.memory = self.made_memory(return_state=True)

    def made_memory(self, **option):
        return self.memory_class(HEADS, chunk_size=CHUNK, **option)

    def causal_lm(self, mixers):
        models = self.package.models
        backbone = models.TitansBackbone(
            vocabulary_size=TOKENS,
            num_layers=2,
            num_heads=HEADS,
            hidden_dim=WIDTH,
            intermediate_dim=2 * WIDTH,
            mixers=mixers,
            window_size=CHUNK,
            chunk_size=CHUNK,
        )
        model = models.TitansCausalLM(backbone)
        model.compile(sampler="greedy")
        return model

    def array(self, tensor):
        return np.array(self.keras.ops.convert_to_numpy(tensor))

    def on_ids(self, model):
        return lambda ids: self.array(model.score(ids.astype("int32")))

    def layer(self, x, state=None, mask=None):
        y, state = self.memory(x, initial_state=state, mask=mask)
        return self.array(y), state

    def surprise(self, x):
        return self.memory(x, return_surprise=True)[1]

    def with_option(self, x, **option):
        return self.array(self.made_memory(**option)(x))

    def own_network(self, x):
        class Own(self.package.memory.MLPMemory):
            pass

        return self.with_option(x, network=Own(depth=1))

    def trained(self, x):
        layer = self.made_memory()
        model = self.keras.Sequential([layer])
        model.compile("adam", "mse", jit_compile=False)
        model.fit(x, np.zeros_like(x), verbose=0)
        return self.array(layer(x))

    def gradients(self, x):
        """On PyTorch, where they are read as a peer's are."""
        if self.keras.backend.backend() != "torch":
            return None
        memory = self.made_memory()
        (memory(x) ** 2).sum().backward()
        return {
            weight.path: weight.value.grad is not None
            and bool(weight.value.grad.abs().sum() > 0)
            for weight in memory.trainable_variables
        }

    def carried(self, prompt, text):
        model, found = self.language_model, []
        cache = model.backbone.get_initial_state(len(prompt))
        for piece in (prompt, *text.T[..., None]):
            logits, _, cache = model.call_with_cache(
                piece.astype("int32"), cache
            )
            found.append(self.array(logits)[:, -1:])
        return cache, np.concatenate(found, axis=1)

    def keep(self, state, path):
        self.package.models.MemorySnapshot(state).save(path)

    def kept(self, path):
        return self.package.models.MemorySnapshot.load(path).to_state()

    def across(self, folder, x, half):
        """The first engine keeps a memory, the others go on from it."""
        names = "model.keras", "state.memory", "outputs.npy"
        model, state, outputs = (os.path.join(folder, name) for name in names)
        if not os.path.exists(model):
            inputs = self.keras.Input((None, x.shape[-1]))
            y, _ = self.memory(inputs)
            self.keras.Model(inputs, y).save(model)
            self.keep(self.layer(x[:, :half])[1], state)
            np.save(outputs, self.layer(x)[0][:, half:])
            return {"kept": True}
        self.memory = self.keras.saving.load_model(model).layers[-1]
        y, _ = self.layer(x[:, half:], self.kept(state))
        wanted = np.load(outputs)
        return {"error": float(np.abs(y - wanted).max() / np.abs(wanted).max())}

    def copied(self, model, folder):
        path = os.path.join(folder, "model.keras")
        model.save(path)
        return self.keras.saving.load_model(path)


SUBJECTS = {
    "keras-titans": KerasTitans,
    "titans-pytorch": TitansPytorch,
    "titans-unofficial": TitansUnofficial,
    "open-titans": OpenTitans,
    "titans-trainer": TitansTrainer,
    "flash-linear-attention": FlashLinearAttention,
}
