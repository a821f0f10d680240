"""An error in the first step of a model costs none of its weights."""

import numpy as np
import pytest

from keras_titans.layers import NeuralMemory
from keras_titans.models import SegmentedTrainer
from keras_titans.models import StreamingModel
from keras_titans.models import TitansBackbone
from keras_titans.models import TitansCausalLM
from tests.helpers import same
from tests.models.streaming_model_test import sequential


def backbone():
    return TitansBackbone(7, 1, 8, mixers="LMM", memory=NeuralMemory(2, 4))


@pytest.mark.parametrize(
    "make",
    [
        backbone,
        lambda: TitansCausalLM(backbone()),
        lambda: StreamingModel(sequential()),
        lambda: SegmentedTrainer(sequential(), 4),
    ],
)
def test_weights_outlive_a_failed_step(make):
    model = make()
    before = model.get_weights()
    with pytest.raises(Exception, match=r"\w"):
        model.predict(np.zeros((2, 3, 4, 5), "float32"), verbose=0)
    same(model.get_weights(), before)
