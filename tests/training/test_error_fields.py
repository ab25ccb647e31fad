"""What a fit adds to an error: the batch, the rows that were tried, where the loss became NaN."""

import numpy as np
import pytest

from fastdl import Trainer, nn, optim
from fastdl.errors import DivergenceError, InvalidShapeError, InvalidTypeError, InvalidValueError

X, Y = np.ones((5, 2), np.float32), np.array([0, 1, 2, 0, 1])


def trainer_of(model, criterion=None, lr=0.1):
    return Trainer(model, criterion or nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr))


class Picky(nn.Module):
    """Refuses batches of two rows in a message that looks like two."""

    def __init__(self):
        self.layer = nn.Linear(2, 3, rng=0)

    def forward(self, x):
        if len(x) == 2:
            raise InvalidValueError("Picky()", "more rows; or fewer", "2, got late; too late", "expected: others")
        return self.layer.forward(x)

    def backward(self, grad_output):
        return self.layer.backward(grad_output)


def test_the_feed_names_the_batch_in_the_context_and_leaves_the_other_fields():
    with pytest.raises(InvalidValueError) as caught:
        trainer_of(Picky()).fit([(X[:3], Y[:3]), (X[:2], Y[:2])], epochs=1)
    error = caught.value
    assert (error.context, error.owner) == ("Trainer.fit, epoch 1, batch 2", "Picky()")
    assert (error.expected, error.got, error.hint) == (
        "more rows; or fewer",
        "2, got late; too late",
        "expected: others",
    )
    assert str(error) == (
        "Trainer.fit, epoch 1, batch 2: Picky(): expected more rows; or fewer, got 2, got late; too late; expected: others"
    )
    assert error.__traceback__.tb_next is not None


def test_a_layer_of_a_nested_container_has_producer_and_batch():
    model = nn.Sequential(
        nn.Sequential(nn.Linear(2, 4, rng=0), nn.Tanh()), nn.Residual(nn.Sequential(nn.Linear(3, 3, rng=0)))
    )
    with pytest.raises(InvalidShapeError) as caught:
        trainer_of(model).fit([(X, Y)], epochs=1)
    error = caught.value
    assert (error.context, error.owner) == ("Trainer.fit, epoch 1, batch 1", "Linear(3, 3)")
    assert (error.shape[-1], error.producer) == (4, "layer 0.0, Linear(2, 4)")


def test_a_criterion_that_refuses_targets_has_a_note_of_the_rows():
    with pytest.raises(InvalidValueError) as caught:
        trainer_of(nn.Linear(2, 3, rng=0)).fit(X, np.array([0, 1, 7, 0, 1]), epochs=1, batch_size=2)
    error = caught.value
    assert (error.owner, error.hint, error.note) == ("CrossEntropyLoss()", None, "tried on rows 0, 1, 2")
    assert str(error).endswith(f", got {error.got} (tried on rows 0, 1, 2)")


def test_a_model_of_another_dtype_is_explained_with_what_the_criterion_says():
    class Wide(nn.Linear):
        def forward(self, x):
            return super().forward(x).astype(np.float64)

    with pytest.raises(InvalidTypeError) as caught:
        trainer_of(Wide(2, 3, rng=0), nn.MSELoss()).fit(X, np.zeros((5, 3), np.float32), epochs=1, batch_size=2)
    error = caught.value
    assert (error.expected, error.got) == ("Wide.forward to return float32, the dtype of the weights", "float64")
    assert error.note == str(error.__cause__)


def test_the_last_batch_of_one_row_is_in_the_context():
    model = nn.Sequential(nn.Linear(2, 3, rng=0), nn.BatchNorm1d(3))
    with pytest.raises(InvalidValueError) as caught:
        trainer_of(model).fit(X, Y, epochs=1, batch_size=4)
    error = caught.value
    assert error.context.endswith("write another batch_size than 4, or drop_last=True")
    assert (error.owner, error.hint) == ("BatchNorm1d(3)", "write a larger batch, or eval()")


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_loss_that_diverges_says_where(epochs):
    trainer = trainer_of(nn.Linear(2, 1, rng=0), nn.MSELoss(), lr=1e30)
    with pytest.raises(DivergenceError) as caught:
        trainer.fit(X, np.ones((5, 1), np.float32), epochs=epochs, batch_size=1)
    error = caught.value
    assert error.owner == "Trainer.fit"
    assert "in epoch 1, step" in error.got
    assert error.hint == "write a smaller lr than 1e+30, or clip_norm=1.0"
    assert str(error) == f"Trainer.fit: {error.got}; {error.hint}"
