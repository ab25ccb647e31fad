"""The first value that is not finite is found too where narrow layers compute batch-minor."""

from itertools import pairwise

import numpy as np
import pytest

from fastdl import Trainer, nn, optim


@pytest.mark.parametrize("feature", [0, 24])
@pytest.mark.parametrize("sample", [0, 19])
def test_the_layer_is_named_whichever_feature_of_whichever_sample_it_is(feature, sample, dtype):
    rng, huge = np.random.default_rng(0), np.sqrt(np.finfo(dtype).max)
    sizes = (4, 25, 25, 25, 2)
    model = nn.Sequential(*(nn.Linear(*pair, rng=n, dtype=dtype) for n, pair in enumerate(pairwise(sizes))))
    weight, x = model[1].weight.data.copy(), rng.standard_normal((20, 4)).astype(dtype)
    weight[feature] = huge
    model[1].weight.data = weight
    x[sample] *= huge
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(FloatingPointError, match="first in the output of layer 1 Linear"):
        trainer.fit(x, np.zeros((20, 2), dtype), epochs=1, batch_size=20, shuffle=False)
