"""A model leaves Keras: as SavedModel for any length, as ONNX for one."""

import keras
import numpy as np
import pytest

from keras_titans.layers import TitansBlock

VOCABULARY = 50
BACKEND = keras.backend.backend()


slow = [pytest.param(m, marks=pytest.mark.slow) for m in ("MAG", "MAL", "LMM")]
every_mixer = pytest.mark.parametrize("mixer", ["MAC", *slow])


def make_model(mixer, rows=None, length=None):
    ids = keras.Input(batch_shape=(rows, length), dtype="int32")
    x = keras.layers.Embedding(VOCABULARY, 16)(ids)
    x = TitansBlock(mixer, 32, num_heads=2, window_size=16)(x)
    return keras.Model(ids, keras.layers.Dense(VOCABULARY)(x))


@pytest.mark.skipif(BACKEND == "torch", reason="Keras: TensorFlow and JAX")
@every_mixer
def test_saved_model(mixer, tmp_path):
    tensorflow = pytest.importorskip("tensorflow")
    model = make_model(mixer)
    model.export(str(tmp_path), format="tf_saved_model", verbose=False)
    served = tensorflow.saved_model.load(str(tmp_path))
    rng = np.random.default_rng(0)
    for shape in ((2, 48), (3, 100)):
        ids = rng.integers(0, VOCABULARY, shape, dtype="int32")
        wanted = model.predict(ids, verbose=0)
        have = served.serve(ids).numpy()
        np.testing.assert_allclose(have, wanted, rtol=0, atol=1e-4)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow alone")
@every_mixer
def test_onnx(mixer, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    model = make_model(mixer, 2, 48)
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (2, 48))
    ids = ids.astype("int32")
    # Keras exports to ONNX only what has been called once.
    wanted = model.predict(ids, verbose=0)
    path = str(tmp_path / "model.onnx")
    model.export(path, format="onnx", verbose=False)
    session = runtime.InferenceSession(path)
    (have,) = session.run(None, {session.get_inputs()[0].name: ids})
    np.testing.assert_allclose(have, wanted, rtol=0, atol=1e-4)
