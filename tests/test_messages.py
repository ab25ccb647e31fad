"""Error messages are short and on one line, whatever the value that they are about."""

import copy
import pickle

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, data, nn, optim, random
from fastdl.callbacks import CSVLog, EarlyStopping, ModelCheckpoint, ProgressBar, TensorBoard
from fastdl.messages import Advice, Argument, listed, short, shown
from fastdl.nn import init
from fastdl.training.history import History

LONG = 700


class Odd:
    def __repr__(self):
        raise RuntimeError("no repr")


class Wide:
    def __repr__(self):
        return "wide\n" * 10**5


HUGE = {
    "array": np.arange(5000.0),
    "matrix": np.full((300, 300), np.nan),
    "texts": np.array(["name"] * 3000),
    "list": list(range(10**5)),
    "lists": [[0.5] * 1000] * 1000,
    "pair": ([0.5] * 10**4, "x" * 10**4),
    "text": "x" * 10**5,
    "lines": "line\n" * 10**4,
    "bytes": b"x" * 10**5,
    "integer": 10**5000,
    "negative": -(10**5000),
    "dictionary": {f"name{number}": number for number in range(10**4)},
    "set": set(range(10**4)),
    "odd": Odd(),
    "wide": Wide(),
    "dtype": np.dtype([(f"field{number}", float) for number in range(1000)]),
}


def parameters():
    return nn.Linear(2, 2, rng=0).parameters()


def trainer():
    model = nn.Linear(2, 2, rng=0)
    return Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1))


def fit(**options):
    x, y = data.disk(20, rng=0)
    return trainer().fit(x, y, **{"epochs": 0, "batch_size": 10, "progress": False} | options)


def schedule():
    return optim.StepLR(optim.SGD(parameters(), lr=0.1), 2)


X = np.zeros((4, 2), np.float32)
CALLS = {
    "Linear": lambda v: nn.Linear(v, 2),
    "Linear bias": lambda v: nn.Linear(2, 2, bias=v),
    "Linear weight_init": lambda v: nn.Linear(2, 2, weight_init=v),
    "Linear dtype": lambda v: nn.Linear(2, 2, dtype=v),
    "Linear rng": lambda v: nn.Linear(2, 2, rng=v),
    "Conv2d": lambda v: nn.Conv2d(1, 1, v),
    "Conv2d padding": lambda v: nn.Conv2d(1, 1, 3, padding=v),
    "Conv2d groups": lambda v: nn.Conv2d(1, 1, 3, groups=v),
    "MaxPool2d": lambda v: nn.MaxPool2d(v),
    "MaxPool2d padding": lambda v: nn.MaxPool2d(3, padding=v),
    "AdaptiveAvgPool2d": lambda v: nn.AdaptiveAvgPool2d(v),
    "BatchNorm1d": lambda v: nn.BatchNorm1d(v),
    "BatchNorm1d eps": lambda v: nn.BatchNorm1d(2, eps=v),
    "LayerNorm": lambda v: nn.LayerNorm(v),
    "Dropout": lambda v: nn.Dropout(v),
    "Flatten": lambda v: nn.Flatten(v),
    "Softmax": lambda v: nn.Softmax(v),
    "Softplus": lambda v: nn.Softplus(v),
    "HuberLoss": lambda v: nn.HuberLoss(delta=v),
    "CrossEntropyLoss": lambda v: nn.CrossEntropyLoss(weight=v),
    "CrossEntropyLoss of other weights": lambda v: nn.CrossEntropyLoss(weight=v)(X, np.zeros(4, int)),
    "CrossEntropyLoss ignore_index": lambda v: nn.CrossEntropyLoss(ignore_index=v),
    "MSELoss": lambda v: nn.MSELoss(reduction=v),
    "MSELoss input": lambda v: nn.MSELoss()(v, X),
    "MSELoss target": lambda v: nn.MSELoss()(X, v),
    "BCEWithLogitsLoss": lambda v: nn.BCEWithLogitsLoss(pos_weight=v),
    "Sequential": lambda v: nn.Sequential(v),
    "Sequential index": lambda v: nn.Sequential(nn.ReLU())[v],
    "Residual": lambda v: nn.Residual(v),
    "call": lambda v: nn.Linear(2, 2)(v),
    "wide model": lambda v: nn.Sequential(*[nn.Linear(2, 2)] * 500, nn.Linear(3, 2))(X),
    "backward": lambda v: nn.ReLU().backward(v),
    "register_buffer": lambda v: nn.ReLU().register_buffer(v, X),
    "train": lambda v: nn.ReLU().train(v),
    "astype": lambda v: nn.Linear(2, 2).astype(v),
    "summary": lambda v: nn.Linear(2, 2).summary(v),
    "load_state_dict": lambda v: nn.Linear(2, 2).load_state_dict(v),
    "Parameter": lambda v: nn.Parameter(X, requires_grad=v),
    "from_spec": lambda v: nn.from_spec(v),
    "init": lambda v: init.uniform(v, v),
    "init shape": lambda v: init.xavier_normal()(v),
    "SGD": lambda v: optim.SGD(v, lr=0.1),
    "SGD lr": lambda v: optim.SGD(parameters(), lr=v),
    "SGD groups": lambda v: optim.SGD([{"params": parameters(), str(type(v)): v}], lr=0.1),
    "Adam": lambda v: optim.Adam(parameters(), betas=v),
    "Adam load_state_dict": lambda v: optim.Adam(parameters()).load_state_dict(v),
    "StepLR": lambda v: optim.StepLR(v, 2),
    "StepLR size": lambda v: optim.StepLR(optim.SGD(parameters(), lr=0.1), v),
    "CosineAnnealingLR": lambda v: optim.CosineAnnealingLR(optim.SGD(parameters(), lr=0.1), 9, warmup=v),
    "schedule load_state_dict": lambda v: schedule().load_state_dict(v),
    "schedule load_state_dict of one": lambda v: schedule().load_state_dict({**schedule().state_dict(), "epoch": v}),
    "ReduceLROnPlateau": lambda v: optim.ReduceLROnPlateau(optim.SGD(parameters(), lr=0.1)).step(v),
    "clip_grad_norm": lambda v: optim.clip_grad_norm(parameters(), v),
    "Trainer": lambda v: Trainer(v, nn.MSELoss(), optim.SGD(parameters(), lr=0.1)),
    "Trainer criterion": lambda v: Trainer(nn.Linear(2, 2), v, optim.SGD(parameters(), lr=0.1)),
    "Trainer metrics": lambda v: Trainer(nn.Linear(2, 2), nn.MSELoss(), optim.SGD(parameters(), lr=0.1), metrics=v),
    "fit x": lambda v: trainer().fit(v, v, epochs=0, batch_size=1),
    "fit y": lambda v: trainer().fit(X, v, epochs=0, batch_size=1),
    "fit batches": lambda v: trainer().fit([(v, v)], epochs=0),
    "fit batches size": lambda v: trainer().fit([(X, X)], epochs=0, batch_size=v),
    "fit epochs": lambda v: fit(epochs=v) if not isinstance(v, int) or v < 0 else None,
    "fit batch_size": lambda v: fit(batch_size=v),
    "fit shuffle": lambda v: fit(shuffle=v),
    "fit seed": lambda v: fit(seed=v),
    "fit validation_data": lambda v: fit(validation_data=v),
    "fit validation pair": lambda v: fit(validation_data=(v, v)),
    "fit callbacks": lambda v: fit(callbacks=v),
    "fit callback": lambda v: fit(callbacks=[v]),
    "fit augment": lambda v: fit(augment=v),
    "fit resume": lambda v: fit(resume=v),
    "evaluate": lambda v: trainer().evaluate(v, v),
    "predict": lambda v: trainer().predict(v),
    "save": lambda v: fastdl.save(v, "none/file"),
    "save path": lambda v: fastdl.save(nn.ReLU(), v) if not isinstance(v, str) else None,
    "save classes": lambda v: fastdl.save(nn.ReLU(), "none/file", classes=v),
    "save metadata": lambda v: fastdl.save(nn.ReLU(), "none/file", metadata=v),
    "load": lambda v: fastdl.load(v) if not isinstance(v, str) else None,
    "load model": lambda v: fastdl.load("none/file", v),
    "ModelCheckpoint": lambda v: ModelCheckpoint(v),
    "ModelCheckpoint every": lambda v: ModelCheckpoint("a", every=v),
    "ModelCheckpoint monitor": lambda v: ModelCheckpoint("a", monitor=v),
    "ModelCheckpoint mode": lambda v: ModelCheckpoint("a", mode=v),
    "EarlyStopping": lambda v: fit(callbacks=[EarlyStopping(v, mode="min")]),
    "EarlyStopping patience": lambda v: EarlyStopping("loss", patience=v),
    "CSVLog": lambda v: CSVLog(v),
    "ProgressBar": lambda v: ProgressBar(v),
    "TensorBoard": lambda v: TensorBoard(v),
    "History": lambda v: History(("loss",))[v],
    "disk": lambda v: data.disk(v),
    "split": lambda v: data.split(X, X, v),
    "one_hot": lambda v: data.one_hot(v, 3),
    "pixels": lambda v: data.pixels(v),
    "Standardize": lambda v: data.Standardize().fit(v),
    "Standardize load_state_dict": lambda v: data.Standardize().load_state_dict(v),
    "Shift": lambda v: data.Shift(v),
    "Compose": lambda v: data.Compose(v),
    "read_csv classes": lambda v: data.read_csv("none", classes=v),
    "read_csv delimiter": lambda v: data.read_csv("none", delimiter=v),
    "read_columns": lambda v: data.read_columns("none", v),
    "mnist": lambda v: data.mnist(v) if not isinstance(v, str) else None,
    "mnist part": lambda v: data.mnist("none", v),
    "as_generator": lambda v: random.as_generator(v),
    "set_num_threads": lambda v: fastdl.set_num_threads(v),
    "set_winograd": lambda v: fastdl.set_winograd(v),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.filterwarnings("ignore")
def test_a_message_is_short_whatever_the_value(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    for kind, value in HUGE.items():
        try:
            CALLS[call](value)
        except (TypeError, ValueError, KeyError, IndexError, OSError, RuntimeError) as error:
            message = str(error)
            faults = [words for words in ("Exceeds the limit", "no repr", "\n") if words in message]
            assert (kind, faults, len(message) < LONG) == (kind, [], True)


def test_values_are_shown_in_few_words():
    assert shown(np.zeros((2, 3), np.float32)) == "array of shape (2, 3) and dtype float32"
    assert shown([np.zeros(3)]) == "[array of shape (3,) and dtype float64]"
    assert shown(np.float64(0.5)) == repr(np.float64(0.5))
    assert (shown(3), shown(True), shown(None), shown("relu"), shown((1, 2))) == (
        "3",
        "True",
        "None",
        "'relu'",
        "(1, 2)",
    )
    assert shown(nn.Linear(2, 3)) == "Linear(2, 3)"
    assert shown(nn.Linear) == "<class 'fastdl.nn.linear.Linear'>"
    assert shown(Odd()).startswith("<Odd instance at")
    for value in HUGE.values():
        assert len(shown(value)) <= 84
        assert "\n" not in shown(value)


def test_integers_beyond_what_python_spells_are_shown_by_their_size():
    assert shown(10**5000) == "an integer of 16610 bits"
    assert shown([2**320, -(10**5000)]) == "[an integer of 321 bits, an integer of 16610 bits]"
    assert shown(2**30) == "1073741824"


def test_a_message_does_not_fail_on_what_it_is_about():
    class NoSpec(nn.ReLU):
        def spec(self):
            raise KeyError("slope")

    class NoShape:
        @property
        def shape(self):
            raise ZeroDivisionError

    assert shown(NoSpec()) == "a NoSpec"
    assert shown(NoShape()) == "a NoShape"
    assert shown([NoShape()]) == "a list"


def test_tables_and_tensors_are_shown_by_their_shape():
    pandas = pytest.importorskip("pandas")
    assert shown(pandas.DataFrame({"a": range(1000)})) == "DataFrame of shape (1000, 1)"
    torch = pytest.importorskip("torch")
    assert shown(torch.zeros(3, 2)) == "Tensor of shape (3, 2) and dtype torch.float32"


def test_texts_and_names_are_cut():
    assert short("a\nb\tc\x00d") == "a b c d"
    assert short("a" * 81) == "a" * 80 + " ..."
    assert listed([]) == ""
    assert listed(["a"] * 5) == "a, a, a, a, a"
    assert listed(["a"] * 6) == "a, a, a, a, a and 1 more"
    assert len(listed(["a" * 1000] * 1000)) < 450


def test_a_text_keeps_its_arguments_through_composition_and_copies():
    inner = Advice("write ", Argument("drop", ["a"]), " or none")
    for text in (
        Advice(inner, " in t.csv"),
        copy.deepcopy(Advice(inner, " in t.csv")),
        pickle.loads(pickle.dumps(Advice(inner, " in t.csv"))),
    ):
        assert text == "write drop=['a'] or none in t.csv"
        assert text.spelled(lambda argument: argument.name.upper()) == "write DROP or none in t.csv"
