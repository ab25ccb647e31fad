"""The file of a training state: what is in it, what it is refused for, and that it is always whole."""

import json
import textwrap

import numpy as np
import pytest
import safetensors
import safetensors.numpy

import fastdl
from fastdl import Trainer, data, nn, optim
from fastdl.callbacks import Callback, EarlyStopping, LearningRateLog, ModelCheckpoint
from fastdl.random import Stream
from fastdl.serialization.model_file import FORMAT_VERSION
from fastdl.serialization.rng_state import GENERATORS, generator_from, generator_state

X, Y = data.disk(60, rng=0)
LAYERS = ("Linear(2, 6)", "BatchNorm1d(6)", "ReLU", "Linear(6, 2)")


def trainer_of(*layers, optimizer=optim.Adam, schedule=None, **options):
    fastdl.manual_seed(1)
    model = nn.from_spec(list(layers or LAYERS))
    made = optimizer(model.parameters(), **options)
    return Trainer(model, nn.CrossEntropyLoss(), made, schedule=schedule and schedule(made))


def fit(trainer, epochs=2, *callbacks, **options):
    return trainer.fit(X, Y, epochs=epochs, batch_size=20, seed=0, callbacks=callbacks, **options)


def words_of(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["fastdl"])


def rewrite(path, change):
    """Write a file anew with its words changed in place."""
    words, entries = words_of(path), safetensors.numpy.load_file(path)
    change(words)
    safetensors.numpy.save_file(entries, path, {"fastdl": json.dumps(words)})


def bits(trainer):
    state = trainer.optimizer.state_dict()
    return [
        *(array.tobytes() for array in trainer.model.state_dict().values()),
        *({n: np.asarray(v).tobytes() for n, v in entry.items()} for entry in state["state"].values()),
        state["param_groups"],
        trainer.schedule and trainer.schedule.state_dict(),
        trainer.history.records,
        trainer._position and str(trainer._position.state_dict()),
    ]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.safetensors"


def test_the_model_in_it_is_read_by_load_and_by_safetensors(path):
    trainer = trainer_of()
    fit(trainer)
    trainer.save(path)
    own = trainer.model.state_dict()
    for found in (fastdl.load(path).model.state_dict(), fastdl.load(path, trainer_of().model).model.state_dict()):
        assert {name: array.tobytes() for name, array in found.items()} == {n: a.tobytes() for n, a in own.items()}
    entries = safetensors.numpy.load_file(path)
    assert {name for name in entries if not name.startswith("training/")} == set(own)
    assert (
        entries["training/optimizer/state/0/exp_avg"] == trainer.optimizer.state_dict()["state"][0]["exp_avg"]
    ).all()


def test_every_parser_of_json_reads_it(path):
    trainer = trainer_of(schedule=optim.ReduceLROnPlateau)  # whose best is infinite at first
    trainer.save(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        text = file.metadata()["fastdl"]

    def refuse(word):
        raise AssertionError(word)

    words = json.loads(text, parse_constant=refuse)
    assert words["training"]["schedule"]["best"] == {"$float": "inf"}
    other = trainer_of(schedule=optim.ReduceLROnPlateau)
    other.load(path)
    assert other.schedule.best == float("inf")


def test_a_trainer_that_never_fitted_has_a_state(path):
    first, second = trainer_of(), trainer_of()
    first.save(path)
    second.load(path)
    assert bits(first) == bits(second)
    assert len(fit(second, 1, resume=True)) == 1


def test_saving_twice_gives_the_same_bytes(path, tmp_path):
    trainer = trainer_of()
    fit(trainer)
    trainer.save(path)
    other = trainer_of()
    other.load(path)
    other.save(tmp_path / "again")
    assert path.read_bytes() == (tmp_path / "again").read_bytes()


def test_a_schedules_rate_and_one_set_by_hand_come_back(path):
    first, second = (trainer_of(schedule=lambda o: optim.StepLR(o, 1)) for _ in range(2))
    fit(first, 2)
    first.optimizer.param_groups[0]["lr"] = 0.123
    first.save(path)
    second.load(path)
    assert (second.schedule.epoch, second.optimizer.param_groups[0]["lr"]) == (2, 0.123)
    assert second.optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def test_a_frozen_part_and_groups_come_back(path):
    def make():
        model = nn.from_spec(list(LAYERS))
        layers = list(model.children())
        layers[1].weight.requires_grad = False
        groups = [
            {"params": layers[0].parameters(), "lr": 0.1},
            {"params": [*layers[1].parameters(), layers[3].weight]},
        ]
        return Trainer(model, nn.CrossEntropyLoss(), optim.SGD(groups, lr=0.01, momentum=0.9))

    first, second = make(), make()
    fit(first, 2)
    first.save(path)
    second.load(path)
    assert bits(first) == bits(second)
    assert [entry["step"] for entry in second.optimizer.state_dict()["state"].values()] == [6, 6, 0, 6, 6]


def test_an_optimizer_and_a_schedule_of_ones_own_come_back(path):
    class Signs(optim.Optimizer):
        state_names = ("last",)

        def __init__(self, params, lr=0.01):
            super().__init__(params, {"lr": lr})

        def update(self, data, grad, state, group, step):
            data -= group["lr"] * np.sign(grad + state["last"])
            state["last"][...] = grad

    class Falling(optim.Schedule):
        def __init__(self, optimizer, slope=0.1):
            self.slope = slope
            super().__init__(optimizer)

        def rate(self, initial, epoch):
            return initial / (1 + self.slope * epoch)

    def make():
        return trainer_of(optimizer=Signs, schedule=Falling)

    whole, first, second = make(), make(), make()
    second.model.load_state_dict(whole.model.state_dict())
    first.model.load_state_dict(whole.model.state_dict())
    fit(whole, 4)
    fit(first, 2)
    first.save(path)
    second.load(path)
    fit(second, 4, resume=True)
    assert bits(second)[:-3] == bits(whole)[:-3]


def test_a_model_with_a_layer_of_ones_own_has_a_state(path):
    class Doubled(nn.Module):
        def forward(self, x):
            return 2 * x

        def backward(self, grad_output):
            return 2 * grad_output

    def make():
        model = nn.Sequential(nn.Linear(2, 2, rng=0), Doubled())
        return Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1, momentum=0.9))

    first, second = make(), make()
    fit(first)
    first.save(path)
    second.load(path)
    assert bits(first) == bits(second)


def test_a_shared_layer_comes_back(path):
    def make():
        shared = nn.Linear(2, 2, rng=0)
        model = nn.Sequential(shared, nn.Tanh(), shared)
        return Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))

    first, second = make(), make()
    fit(first)
    first.save(path)
    second.load(path)
    assert bits(first) == bits(second)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_generators_state_is_plain_and_goes_on(name):
    rng = np.random.Generator(getattr(np.random, name)(5))
    rng.integers(2**32, dtype=np.uint32)
    again = generator_from(json.loads(json.dumps(generator_state(rng))))
    assert (again.integers(2**32, size=9, dtype=np.uint32) == rng.integers(2**32, size=9, dtype=np.uint32)).all()
    assert (again.normal(size=1000) == rng.normal(size=1000)).all()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("MT19937", lambda s: s["state"].update(pos=625)),
        ("MT19937", lambda s: s["state"]["key"].append(1)),
        ("MT19937", lambda s: s["state"]["key"].__setitem__(0, 2**32)),
        ("Philox", lambda s: s.update(buffer_pos=-1)),
        ("Philox", lambda s: s.update(buffer_pos=5)),
        ("PCG64", lambda s: s["state"].update(inc=2**128)),
        ("PCG64", lambda s: s.update(has_uint32=True)),
        ("PCG64", lambda s: s.update(uinteger=1.0)),
        ("PCG64", lambda s: s.update(bit_generator="RandomState")),
        ("SFC64", lambda s: s.pop("state")),
    ],
)
def test_no_generator_gets_a_state_that_it_cannot_have(name, change):
    state = generator_state(np.random.Generator(getattr(np.random, name)(5)))
    change(state)
    with pytest.raises(ValueError, match=r"random generator|in the state of a"):
        generator_from(state)


def test_a_stream_takes_no_state_but_its_own():
    stream = Stream(np.random.default_rng(0))
    for state in (
        {},
        {"seed": 1},
        {"seed": -1, "calls": 0},
        {"seed": 1, "calls": 2**62},
        {"seed": True, "calls": 0},
        3,
    ):
        with pytest.raises(ValueError, match="expected a seed"):
            stream.load_state_dict(state)


OTHERS = {
    "a layer of another size": (
        trainer_of("Linear(2, 6)", "BatchNorm1d(6)", "ReLU", "Linear(6, 3)"),
        "3.weight is float32",
    ),
    "a layer less": (trainer_of("Linear(2, 6)", "ReLU", "Linear(6, 2)"), "1.running_mean is missing|is unexpected"),
    "another activation": (
        trainer_of("Linear(2, 6)", "BatchNorm1d(6)", "Tanh", "Linear(6, 2)"),
        r"layer 2 is Tanh\(\)",
    ),
    "another optimizer": (
        trainer_of(optimizer=optim.SGD, lr=0.1),
        "expected the state of the trainer's Adam, got one of SGD",
    ),
    "a schedule": (trainer_of(schedule=lambda o: optim.StepLR(o, 3)), "schedule .* expected none, got StepLR"),
    "another dtype": (None, "float64"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_state_of_another_trainer_is_distinguished_and_changes_nothing(path, name):
    other, message = OTHERS[name]
    if other is None:
        model = nn.from_spec(list(LAYERS)).astype(np.float64)
        other = Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
    other.save(path)
    trainer = trainer_of()
    fit(trainer)
    before = bits(trainer)
    with pytest.raises(ValueError, match=message) as caught:
        trainer.load(path)
    assert "\n" not in str(caught.value)
    assert bits(trainer) == before


def test_other_options_of_a_schedule_are_reported(path):
    trainer_of(schedule=lambda o: optim.StepLR(o, 3)).save(path)
    for schedule, message in (
        (lambda o: optim.StepLR(o, 4), "expected step_size=4, which the trainer's has, got 3"),
        (lambda o: optim.ExponentialLR(o, 0.5), "expected the state of the trainer's ExponentialLR, got one of StepLR"),
        (None, "expected none, got StepLR"),
    ):
        with pytest.raises(ValueError, match=message):
            trainer_of(schedule=schedule).load(path)
    trainer_of().save(path)
    with pytest.raises(ValueError, match="expected StepLR, got none"):
        trainer_of(schedule=lambda o: optim.StepLR(o, 3)).load(path)


@pytest.mark.parametrize("change", [lambda a: a.astype(np.float64), lambda a: a[:1], lambda a: a.astype(np.int32)])
def test_arrays_of_another_kind_than_the_optimizers_are_reported(path, change):
    trainer_of().save(path)
    words, entries = words_of(path), safetensors.numpy.load_file(path)
    name = "training/optimizer/state/0/exp_avg"
    entries[name] = change(entries[name])
    safetensors.numpy.save_file(entries, path, {"fastdl": json.dumps(words)})
    with pytest.raises(ValueError, match=r"the optimizer in .* cannot be used: .* parameter 0"):
        trainer_of().load(path)


def test_a_newer_version_is_reported(path):
    trainer_of().save(path)
    rewrite(path, lambda words: words.update(format_version=FORMAT_VERSION + 1))
    with pytest.raises(
        ValueError, match=f"expected format version {FORMAT_VERSION} or older, got {FORMAT_VERSION + 1}"
    ):
        trainer_of().load(path)


def test_a_file_with_a_model_alone_is_reported(path):
    fastdl.save(trainer_of().model, path)
    with pytest.raises(ValueError, match=r"which holds a model alone; write fastdl.load\(path, model\)"):
        trainer_of().load(path)


def test_a_missing_file_is_named_by_the_system(path):
    with pytest.raises(FileNotFoundError, match=r"state\.safetensors"):
        trainer_of().load(path)


@pytest.mark.parametrize("part", ["optimizer", "schedule"])
def test_parts_without_a_state_are_reported_before_training(path, part):
    class Own:
        def __init__(self, optimizer):
            self.param_groups, self.zero_grad = optimizer.param_groups, optimizer.zero_grad
            self.step = lambda: None

    trainer = trainer_of()
    setattr(trainer, part, Own(trainer.optimizer))
    for call in (lambda: trainer.save(path), lambda: fit(trainer, 2, ModelCheckpoint(path))):
        with pytest.raises(TypeError, match=f"expected an? {part} that is an optim"):
            call()
    assert not path.exists()
    assert not trainer.history.records


def test_what_a_callback_cannot_write_is_reported_with_its_place(path):
    class Odd(Callback):
        def state_dict(self):
            return {"when": [object()]}

    trainer = trainer_of()
    fit(trainer, 1, Odd())
    with pytest.raises(TypeError, match=r"training/position/callbacks/0/state/when/0: expected numbers.* got object"):
        trainer.save(path)
    assert not path.exists()


def test_resuming_with_other_names_in_the_history_is_reported(path):
    first, second = trainer_of(), trainer_of()
    fit(first)
    first.save(path)
    second.load(path)
    with pytest.raises(ValueError, match="expected to resume a fit of loss, lr, seconds, got one of loss, val_loss"):
        fit(second, 4, resume=True, validation_data=(X, Y))
    assert len(fit(second, 4, resume=True)) == 4


def test_resume_is_true_or_false():
    with pytest.raises(TypeError, match="expected True or False for resume, got 'state'"):
        fit(trainer_of(), resume="state")


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (EarlyStopping, "waited", 99),
        (EarlyStopping, "waited", None),
        (EarlyStopping, "best_epoch", 3),
        (EarlyStopping, "best", "low"),
        (EarlyStopping, "weights", {}),
        (LearningRateLog, "rates", [0.1]),
    ],
)
def test_callbacks_take_no_state_but_their_own(path, make, name, value):
    first, second = trainer_of(), trainer_of()
    options = {"validation_data": (X, Y)}
    fit(first, 2, make(), ModelCheckpoint(path), **options)
    second.load(path)
    second._position._states[0][1][name] = value
    before = bits(second)[:-1]
    with pytest.raises(ValueError, match=make.__name__):
        fit(second, 3, make(), resume=True, **options)
    assert bits(second)[:-1] == before


KILLING = textwrap.dedent("""
    import os, random, signal, sys, time
    from fastdl.serialization import tensor_file
    from fastdl import Trainer, data, nn, optim

    path, (x, y), writing = sys.argv[1], data.disk(40, rng=0), tensor_file.write

    def made():
        model = nn.Sequential(nn.Linear(2, 64, rng=1), nn.ReLU(), nn.Linear(64, 2, rng=2))
        return Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))

    def reporting(*arguments):
        os.write(pipe, b"(")
        writing(*arguments)
        os.write(pipe, b")")

    tensor_file.write = reporting
    random.seed(0)
    trainer, inside, last = made(), 0, 0
    for _ in range(int(sys.argv[2])):
        reading, pipe = os.pipe()
        child = os.fork()
        if not child:
            signal.alarm(600)
            for epochs in range(last + 1, 10**6):
                trainer.fit(x, y, epochs=epochs, batch_size=20, seed=0, resume=True, progress=False)
                trainer.save(path)
        os.close(pipe)
        reported = os.read(reading, 1) + os.read(reading, 1)
        time.sleep(random.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while part := os.read(reading, 65536):
            reported += part
        os.close(reading)
        done = reported.count(b")")
        inside += reported.count(b"(") > done
        trainer = made()
        trainer.load(path)
        # The last save that came to its end, or the one that was killed when its file was in place.
        assert last + done <= len(trainer.history) <= last + reported.count(b"("), (last, reported, len(trainer.history))
        last = len(trainer.history)
    print(inside)
""")


@pytest.mark.parametrize("kills", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path, python, kills):
    path = tmp_path / "state.safetensors"
    done = python(f"import sys; sys.argv[1:] = [{str(path)!r}, {kills}]\n{KILLING}")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= kills / 10  # of the kills came while a file was being written
    assert fastdl.load(path).model is not None
