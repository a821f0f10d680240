"""How this package is called."""

import os

import numpy as np

from benchmarks.peers_features.sizes import CHUNK
from benchmarks.peers_features.sizes import HEADS
from benchmarks.peers_features.sizes import TOKENS
from benchmarks.peers_features.sizes import WIDTH
from benchmarks.peers_features.subjects.subject import Subject


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
        self.memory_class = keras_titans.layers.NeuralMemory
        made = {name: self.causal_lm(name) for name in ("MAC", "MAG", "MAL")}
        self.models = {name: self.on_ids(made[name]) for name in made}
        self.language_model = made["MAC"]
        self.memory = self.made_memory(return_state=True)

    def made_memory(self, **option):
        shape = {"head_dim": WIDTH // HEADS, "chunk_size": CHUNK}
        return self.memory_class(HEADS, **shape, **option)

    def causal_lm(self, mixers):
        models = self.package.models
        backbone = models.TitansBackbone(
            vocabulary_size=TOKENS,
            num_layers=2,
            num_heads=HEADS,
            hidden_dim=WIDTH,
            intermediate_dim=2 * WIDTH,
            mixers=mixers,
            memory=self.made_memory(),
            window_size=CHUNK,
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
        return self.memory(x, return_diagnostics=True)[1]["surprise"]

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
