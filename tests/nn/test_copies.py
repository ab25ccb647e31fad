"""Whatever a program holds of fastdl copies and pickles, or says in one sentence that it stays in its process."""

import copy
import functools
import importlib
import inspect
import io
import pickle
import pkgutil
import tempfile

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, data, nn, optim
from fastdl._kernels.access import Access
from fastdl._kernels.descriptor import DESCRIPTORS, LOSSES, OPTIMIZERS
from fastdl._kernels.layer_call import LatestCalls
from fastdl._kernels.program.frame import Passed
from fastdl._kernels.program.program import TrainOptions
from fastdl._kernels.program.python_call import PythonCall
from fastdl._kernels.program.sequence import EntryList
from fastdl._kernels.program.step import Batches
from fastdl._kernels.program.update import Updates
from fastdl._kernels.watch import Read
from fastdl.callbacks import Callback, CSVLog, EarlyStopping, LearningRateLog, ModelCheckpoint, ProgressBar
from fastdl.data import augment
from fastdl.nn.grad_mode import mode
from fastdl.nn.parameter import Parameter
from fastdl.random import Stream
from fastdl.serialization.model_file import Checkpoint

X = np.random.default_rng(0).standard_normal((40, 1, 6, 6)).astype(np.float32)
Y = np.arange(40) % 3
HEAP_TYPE = 1 << 9  # the flag of classes written in Python


class Slotted(nn.Module):
    """A layer in Python that holds its factor, and a name, in slots of its own."""

    __slots__ = ("__name", "factor")

    def __init__(self):
        self.factor = 2.0
        self.__name = "slotted"
        self.scale = Parameter(np.ones(1, np.float32))
        self.register_buffer("seen", np.zeros(1, np.int64))

    def name(self):
        return self.__name

    def forward(self, x):
        self.x = x
        self.seen += 1
        return x * self.scale.data * np.float32(self.factor)

    def backward(self, grad_output):
        self.scale.grad += np.sum(grad_output * self.x) * self.factor
        return grad_output * self.scale.data * np.float32(self.factor)


class Named(Parameter):
    """A parameter with an attribute."""

    def __init__(self, data):
        super().__init__(data)
        self.name = "mine"


def network():
    tied = nn.Linear(8, 8, rng=2)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, rng=0),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Residual(tied),
        nn.Dropout(0.2),
        Slotted(),
        nn.Sequential({"again": tied, "norm": nn.LayerNorm(8)}),
        nn.Parallel(nn.Linear(8, 2, weight_init=nn.init.xavier_normal(2.0), rng=3), nn.Linear(8, 1, bias=False)),
    )


def trained(native=False):
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3, rng=0)) if native else network()
    optimizer = optim.Adam([{"params": list(model.parameters())}], lr=0.01)
    schedule = optim.StepLR(optimizer, 2, 0.5)
    trainer = Trainer(model, nn.CrossEntropyLoss(), optimizer, schedule=schedule)
    trainer.fit(X, Y, epochs=3, batch_size=16, seed=0)
    return trainer


def called(model, shape=(4, 6)):
    """The same after so many calls that it has a program, and keeps a forward."""
    for _ in range(5):
        model(np.ones(shape, np.float32))
    return model


def graph():
    pytest.importorskip("onnx", reason="onnx is not installed (the onnx extra)")
    import fastdl.onnx

    with tempfile.TemporaryDirectory() as folder:
        model = nn.Sequential(nn.Linear(6, 3, rng=0), nn.Residual(nn.Linear(3, 3, rng=1)), nn.GELU(), nn.Softmax())
        fastdl.onnx.export(model, f"{folder}/model.onnx", (6,))
        return fastdl.onnx.load(f"{folder}/model.onnx")


SCALED = data.Standardize().fit(np.arange(12.0).reshape(4, 3))
HOLDINGS = {
    "Parameter": lambda: Parameter(np.arange(6.0).reshape(2, 3)),
    "a frozen Parameter": lambda: Parameter(np.arange(6.0), requires_grad=False),
    "a Parameter with a gradient": lambda: gradient(Parameter(np.arange(6.0))),
    "a Parameter's subclass": lambda: Named(np.arange(6.0)),
    "an initializer": lambda: nn.init.xavier_normal(2.0),
    "a model": network,
    "a model after calls": lambda: called(nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3), nn.Tanh())),
    "a layer in Python": Slotted,
    "a model from ONNX": graph,
    "collections": lambda: nn.ModuleDict({"a": nn.ModuleList([nn.Linear(6, 3), nn.Tanh()]), "b": nn.Linear(2, 2)}),
    "a Siamese": lambda: nn.Siamese(nn.Linear(6, 3)),
    "a loss": lambda: nn.BCEWithLogitsLoss([1.0, 2.0], pos_weight=[3.0, 4.0]),
    "SGD": lambda: optim.SGD(network().parameters(), momentum=0.9),
    "an optimizer after steps": lambda: trained().optimizer,
    "a schedule": lambda: trained().schedule,
    "ReduceLROnPlateau": lambda: optim.ReduceLROnPlateau(optim.RMSprop(network().parameters())),
    "a Trainer": lambda: Trainer(m := network(), nn.CrossEntropyLoss(), optim.SGD(m.parameters())),
    "a Trainer after a fit": trained,
    "a Trainer after a native fit": lambda: trained(native=True),
    "History": lambda: trained().history,
    "Stream": lambda: Stream(np.random.default_rng(0)),
    "Standardize": lambda: SCALED,
    "Checkpoint": lambda: Checkpoint(network(), SCALED, classes=("a", "b")),
    "Dataset": lambda: data.Dataset(X, Y, classes=("a", "b", "c")),
    "augmentations": lambda: augment.Compose([augment.Shift(1), augment.Flip(), augment.Noise(0.1)]),
    "EarlyStopping": lambda: EarlyStopping("loss"),
    "CSVLog": lambda: CSVLog("log.csv"),
    "ModelCheckpoint": lambda: ModelCheckpoint("m", monitor="loss"),
    "LearningRateLog": LearningRateLog,
    "ProgressBar": ProgressBar,
    "no_grad": fastdl.no_grad,
}


made = functools.cache(lambda make: make())


def gradient(parameter):
    parameter.grad = np.ones(parameter.shape)
    return parameter


def by_pickle(protocol):
    return lambda thing: pickle.loads(pickle.dumps(thing, protocol))


COPIES = {"deepcopy": copy.deepcopy} | {f"protocol {number}": by_pickle(number) for number in range(6)}


ATOMS = int, float, str, bytes, type(None)


def parts(thing, seen):
    """All that a thing holds, itself included, but what its class says to leave behind."""
    if isinstance(thing, ATOMS):
        yield thing  # of which equal ones may be one object, before or after
        return
    if id(thing) in seen or isinstance(thing, type) or inspect.isroutine(thing):
        return
    seen[id(thing)] = thing
    yield thing
    inner = ()
    if isinstance(thing, Parameter):
        inner = [thing.data, thing.grad]
    elif isinstance(thing, np.random.Generator):
        inner = [thing.bit_generator.state]
    elif isinstance(thing, dict):
        inner = [*thing.keys(), *thing.values()]
    elif isinstance(thing, (list, tuple)):
        inner = thing
    elif type(thing).__module__.startswith("fastdl") or isinstance(thing, (nn.Module, Parameter)):
        state = thing.__getstate__()
        inner = [] if state is None else [state]
    for each in inner:
        yield from parts(each, seen)


def arrays(thing):
    return [each for each in parts(thing, {}) if isinstance(each, np.ndarray)]


def described(thing):
    """Its kind and values, part by part."""
    return [
        (type(each), (each.tobytes(), each.shape, each.dtype) if isinstance(each, np.ndarray) else plain(each))
        for each in parts(thing, {})
    ]


def plain(value):
    return repr(value) if isinstance(value, ATOMS) else None


@pytest.mark.parametrize("make", HOLDINGS.values(), ids=HOLDINGS)
def test_a_copy_is_equal_and_shares_no_array(each, make):
    thing = made(make)
    for kind in each(kind=COPIES):
        twin = COPIES[kind](thing)
        assert type(twin) is type(thing)
        assert described(twin) == described(thing)
        for mine in arrays(thing):
            assert not any(np.shares_memory(mine, other) for other in arrays(twin))


@pytest.mark.parametrize("make", HOLDINGS.values(), ids=HOLDINGS)
def test_a_shallow_copy_is_equal(make):
    thing = made(make)
    twin = copy.copy(thing)
    assert type(twin) is type(thing)
    assert described(twin) == described(thing)


def test_a_shallow_copy_of_a_model_has_the_same_parameters_and_a_list_of_layers_of_its_own():
    model = network()
    twin = copy.copy(model)
    assert all(one is other for one, other in zip(model.parameters(), twin.parameters(), strict=True))
    assert all(one is other for one, other in zip(model.buffers(), twin.buffers(), strict=True))
    assert twin.append(nn.Softmax())[-1] is not model[-1]
    assert (len(twin), len(model)) == (11, 10)


def test_a_shallow_copy_of_a_collection_has_a_list_of_its_own():
    modules, named = nn.ModuleList([nn.Tanh()]), nn.ModuleDict({"a": nn.Tanh()})
    copy.copy(modules).append(nn.Tanh())
    copy.copy(named)["b"] = nn.Tanh()
    assert (len(modules), len(named)) == (1, 1)


class Grows(nn.Module):
    """Its copies add a layer to the model that it is in, as another thread may."""

    def __init__(self, model):
        self.grow = functools.partial(model.append, nn.Tanh())

    def __getstate__(self):
        self.grow()
        return {}


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_has_the_layers_that_the_model_had_at_its_beginning(duplicate):
    model = nn.Sequential(nn.Linear(2, 3))
    model.append(Grows(model))
    assert [type(layer) for layer in duplicate(model)] == [nn.Linear, Grows]
    assert len(model) == 3


def test_a_shallow_copy_of_a_parameter_is_another():
    parameter = Parameter(np.ones(2))
    copy.copy(parameter).data = np.zeros(2)
    assert parameter.data.tolist() == [1, 1]


def test_a_shallow_copy_of_an_optimizer_counts_and_learns_by_itself():
    parameter = Parameter(np.ones(2))
    optimizer = optim.Adam([parameter], lr=0.1)
    twin = copy.copy(optimizer)
    twin.param_groups[0]["lr"] = 0.5
    parameter.grad = np.ones(2)
    twin.step()
    twin.step()
    optimizer.step()
    assert (optimizer._steps, twin._steps) == ([1], [2])
    np.testing.assert_allclose(parameter.data, 1 - 0.5 - 0.5 - 0.1, rtol=1e-6)
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_what_is_in_slots_travels(duplicate):
    twin = duplicate(Slotted())
    assert (twin.factor, twin.name()) == (2.0, "slotted")
    assert twin.seen.flags.writeable
    assert twin(np.ones(1, np.float32)).tolist() == [2]


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("native", [True, False])
def test_a_copied_trainer_goes_on_alike_and_apart(native, duplicate):
    trainer = trained(native)
    before = trainer.model.state_dict()
    twin = duplicate(trainer)
    ahead = twin.fit(X, Y, epochs=6, batch_size=16, resume=True)
    for name, value in trainer.model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    history = trainer.fit(X, Y, epochs=6, batch_size=16, resume=True)
    assert history["loss"] == ahead["loss"]
    assert history.engine.endswith("Slotted in Python") == (not native)
    for name, value in trainer.model.state_dict().items():
        np.testing.assert_array_equal(value, twin.model.state_dict()[name])


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_what_is_tied_stays_tied(duplicate):
    model = network()
    twin, optimizer = duplicate((model, optim.SGD(model.parameters())))
    assert twin[5].body is twin[8][0]
    assert [id(each) for each in twin.parameters()] == [id(each) for each in optimizer.param_groups[0]["params"]]


# What belongs to a process or to a fit stays behind.


def test_a_pickle_does_not_grow_by_calls_and_forgotten_gradients():
    model = nn.Sequential(nn.Linear(50, 40), nn.Tanh(), nn.Linear(40, 50))
    size = len(pickle.dumps(model))
    assert size < 1.2 * sum(each.data.nbytes for each in model.parameters())
    called(model, (200, 50)).backward(np.ones((200, 50), np.float32))
    called(model.eval(), (200, 50))
    fastdl.training.inference.predict(model, np.ones((200, 50), np.float32))
    optim.SGD(model.parameters()).forget_gradients()
    assert len(pickle.dumps(model)) < size + 100


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
def test_copies_made_in_a_fit_leave_the_fit_behind(duplicate, tmp_path):
    log, found = CSVLog(tmp_path / "log.csv"), []

    class Copying(Callback):
        def on_epoch_end(self, trainer, record):
            found.append(duplicate((trainer, log, progress)))

    progress = ProgressBar(True)
    trainer = trained()
    trainer.fit(X, Y, epochs=2, batch_size=16, seed=0, callbacks=[log, progress, Copying()])
    twin, twins_log, twins_bar = found[0]
    assert vars(twins_log) == vars(log)
    assert vars(twins_bar) == vars(progress)
    twins_log.path = tmp_path / "second.csv"
    assert len(twin.fit(X, Y, epochs=2, batch_size=16, seed=0, callbacks=[twins_log, twins_bar])) == 2
    assert len((tmp_path / "second.csv").read_text().splitlines()) == 3


def extension_types():
    """The classes written in Cython, and those with slots, of all of fastdl."""
    for module in pkgutil.walk_packages(fastdl.__path__, "fastdl."):
        if not module.name.startswith(("fastdl.estimators", "fastdl.onnx", "fastdl.studies", "fastdl.__main__")):
            for each in vars(importlib.import_module(module.name)).values():
                own = inspect.isclass(each) and each.__module__.startswith("fastdl") and not issubclass(each, tuple)
                if own and (not each.__flags__ & HEAP_TYPE or "__slots__" in vars(each)):
                    yield each


class Forward(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(6, 3)

    def forward(self, x):
        return np.tanh(self.layer(x))


def in_a_process():
    """One of each class that holds addresses."""
    model = called(nn.Sequential(nn.Linear(6, 3), nn.Tanh()))
    (call,), layer = model._flat.latest, called(nn.Linear(6, 3))
    nothing = dict.fromkeys(("order", "seeds", "after_backward"))
    numbers = dict.fromkeys(
        ("rows", "batch_size", "accumulate", "epochs", "clip_value", "clip_norm", "sums", "seed", "call"), 0
    )
    options = TrainOptions(
        inputs=[np.ones(1)],
        outputs=[],
        updates=Updates([]),
        counts=[],
        access=Access(),
        watch=call.watch,
        goes_on=bool,
        ended=bool,
        **nothing,
        **numbers,
    )
    found = [
        Access(),
        layer._make_turns(),
        call,
        model._kept,
        call.watch,
        call.run,
        call.run.frames,
        call.run.frames.program,
        Updates([]),
        options,
        Read(),
    ]
    found.append(EntryList([], [], [], [], [], [], 0, 0, None, -1, []))
    idle = call.run.frames.idle
    frame = idle[0] if idle else another(model, idle)
    passed = Passed((0, 0, 0), np.dtype(np.float32), ())
    traced = called(Forward())
    found += [traced._flat, *traced._flat.latest, LatestCalls()]
    trainer = Trainer(model, nn.MSELoss(), optim.SGD(model.parameters()))
    for _ in range(2):
        trainer.step(np.ones((2, 6), np.float32), np.ones((2, 3), np.float32))
    found += [*trainer._step_calls, Batches(None)]
    return [*found, model._flat, frame, passed, PythonCall("", bool, (), ())]


def another(model, idle):
    model(np.ones((4, 6), np.float32))  # two forwards, of which the first gives its frame back
    model._kept = None
    return idle[0]


@pytest.mark.parametrize("duplicate", (COPIES | {"copy": copy.copy}).values(), ids=COPIES | {"copy": copy.copy})
def test_what_holds_addresses_stays_in_its_process(duplicate):
    for each in in_a_process():
        with pytest.raises(TypeError, match=r"^\w+: expected to stay in its process, for .* addresses; .*"):
            duplicate(each)


def test_every_extension_type_and_class_with_slots_is_looked_at_here():
    passing = {type(each).__name__ for each in in_a_process()} | {"Turn", "Form"}  # which no Python code sees
    assert {each.__name__ for each in extension_types()} <= passing | {
        "Parameter",
        "Buffer",
        "Scalar",
        "Descriptor",
        "LossDescriptor",
        "OptimizerDescriptor",
        "NodeDescriptor",
        "TracedOperators",
        "Size",
        "Value",
        "Memory",
        "Entries",
        "NodeEntry",
        "Storage",
        "Mode",
        "Pause",
        "Quiet",
        "Replaced",
        "Option",
        "no_grad",
    }
    assert copy.deepcopy(mode).enabled


# Arrays that cannot be written to.


def test_a_model_read_as_memory_maps_or_out_of_band_learns():
    model = network()
    buffers = []
    content = pickle.dumps(model, 5, buffer_callback=buffers.append)
    readonly = pickle.loads(content, buffers=[bytes(each.raw()) for each in buffers])
    twins = [readonly, model]
    for twin in twins:
        Trainer(twin, nn.CrossEntropyLoss(), optim.SGD(twin.parameters())).fit(X, Y, epochs=2, seed=0, batch_size=20)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(readonly.state_dict()[name], value)


def test_a_model_mapped_by_joblib_learns(tmp_path):
    joblib = pytest.importorskip("joblib", reason="joblib is not installed (the sklearn extra)")
    joblib.dump(network(), tmp_path / "model")
    model = joblib.load(tmp_path / "model", mmap_mode="r")
    assert all(type(each.data) is np.ndarray for each in model.parameters())
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters()))
    assert len(trainer.fit(X, Y, epochs=2, batch_size=20)) == 2
    file = io.BytesIO()
    joblib.dump(trainer, file)
    file.seek(0)
    np.testing.assert_array_equal(joblib.load(file).predict(X), trainer.predict(X))


@pytest.mark.parametrize("registry", [DESCRIPTORS, LOSSES, OPTIMIZERS], ids=["operations", "losses", "optimizers"])
@pytest.mark.parametrize("duplicate", (COPIES | {"copy": copy.copy}).values(), ids=COPIES | {"copy": copy.copy})
def test_a_descriptor_is_the_one_of_its_name_in_every_copy(registry, duplicate):
    assert registry
    for descriptor in registry.values():
        assert duplicate(descriptor) is descriptor
