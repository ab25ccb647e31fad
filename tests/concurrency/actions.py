"""What the fuzz script does at random moments: actions on a world, some of which leave it as it is."""

import copy
import gc
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress

import numpy as np

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.data.nested import mapped
from fastdl.training.inference import predict

# Seconds that a forked child may take.
TIMEOUT = 30


class Disturbed(Exception):  # noqa: N818 - it is no error
    """Raised by handlers, callbacks and modules, to see what is left behind."""


class Fault(Exception):  # noqa: N818 - a test's, no user's
    """What must not happen."""


def in_child(world, draws):
    """Fork; the child makes some calls and leaves, and the parent waits for it."""
    world.forks = getattr(world, "forks", 0) + 1
    if world.forks > 3:
        return
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for action in draws.sample(PURE[1:], 3):
                attempt(action, world, draws)
            nn.Linear(300, 300)(np.ones((200, 300), np.float32))
            code = 0
        except (Disturbed, KeyboardInterrupt):  # of one of the actions, or of a module that acts
            code = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    end = time.monotonic() + TIMEOUT
    while True:
        try:
            done, status = os.waitpid(child, os.WNOHANG)
        except ChildProcessError:
            raise Fault("a child has got lost") from None
        if done:
            break
        if time.monotonic() > end:
            os.kill(child, signal.SIGUSR1)  # faulthandler tells where it is
            time.sleep(1)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise Fault(f"a forked child hangs: {child}")
        with suppress(Disturbed, KeyboardInterrupt):  # of a handler; the child is still waited for
            time.sleep(0.005)
    if status:
        raise Fault(f"a forked child has ended with status {os.waitstatus_to_exitcode(status)}")


def nested_fit(world, draws):
    """A fit of a trainer that fits is refused; any other trainer's goes on."""
    if world.trainer._runs():
        try:
            world.trainer.fit(world.x, world.y, epochs=1, batch_size=4, progress=False)
        except RuntimeError:
            return
        if world.trainer._runs():  # which it may have ended meanwhile
            raise Fault("a fit within a fit was not refused")


def other_fit(world, draws):
    """Another model's fit."""
    model = nn.Sequential(nn.Linear(4, 8, rng=0), nn.ReLU(), nn.Linear(8, 3, rng=1))
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.Adam(model.parameters()))
    x, y = np.ones((30, 4), np.float32), np.arange(30) % 3
    trainer.fit(x, y, epochs=3, batch_size=10, seed=1, progress=False)


def other_step(world, draws):
    """A forward and a backward of another model, at another size each time."""
    n = draws.randint(1, 40)
    other = copy.deepcopy(world.other)
    other.backward(np.ones_like(other(np.resize(world.other_x, (n, 2, 8, 8)))))


def pull_of_a_copy(world, draws):
    """Gradients of a copy, twice by one pullback, in evaluation mode."""
    y, pullback = copy.deepcopy(world.model).eval().vjp(world.x[: draws.randint(1, 20)])
    ones = mapped(y, np.ones_like)
    one, other = pullback(ones), pullback(ones, parameters=False)
    if not np.array_equal(one, other, equal_nan=True):
        raise Fault("a pullback gives something else when it is called again")


def save_trainer(world, draws):
    """Save the training state."""
    world.trainer.save(os.path.join(world.folder, f"state{draws.randrange(2)}"))


def save_model(world, draws):
    """Save the model, and load it."""
    folder = tempfile.mkdtemp(dir=world.folder)  # which goes with the world's; a forked child makes the same draws
    path = os.path.join(folder, "model")
    fastdl.save(world.model, path)
    fastdl.load(path)


PURE = [
    in_child,
    nested_fit,
    other_fit,
    other_step,
    pull_of_a_copy,
    save_trainer,
    save_model,
    lambda w, d: w.trainer.predict(w.x[: d.randint(1, 20)], batch_size=d.choice([1, 7, 99])),
    lambda w, d: predict(w.model, w.x),
    lambda w, d: w.trainer.evaluate(*w.part(slice(20))),
    lambda w, d: copy.deepcopy(w.model).eval()(w.x[:5]),
    lambda w, d: copy.deepcopy(w.trainer),
    lambda w, d: pickle.loads(pickle.dumps(w.model)),
    lambda w, d: w.model.state_dict(),
    lambda w, d: w.optimizer.state_dict(),
    lambda w, d: (repr(w.model), w.model.summary(w.shape), list(w.model.named_parameters())),
    lambda w, d: fastdl.set_num_threads(d.choice([1, 2, 3, 5])),
    lambda w, d: gc.collect(),
]


def values(array, draws):
    """Numbers for the place of others, sensible or not."""
    kind = draws.randrange(6)
    if array.dtype.kind != "f":
        return np.array(draws.choice([0, 1, -1, 2**40, -(2**62), -100]), array.dtype)
    rng = np.random.default_rng(draws.randrange(10**6))
    return rng.standard_normal(array.shape) if kind < 4 else draws.choice([np.nan, np.inf, 1e30, 0.0])


def in_place(array, draws):
    """Change values of an array."""
    array[draws.choice([slice(None), slice(0, 1), slice(None, None, 2)])] = values(array[:1], draws)


def a_layer(world, draws):
    """A layer of the model that has something to change."""
    return draws.choice([module for module in world.model.modules() if vars(module)] or [world.model])


def a_parameter(world, draws):
    """A parameter of the model, or, where it has none, of the other one."""
    return draws.choice(list(world.model.parameters()) or list(world.other.parameters()))


def replace_parameter(world, draws):
    """Another parameter in the place of one, of its shape or not."""
    layer = a_layer(world, draws)
    names = [name for name, value in vars(layer).items() if isinstance(value, nn.Parameter)]
    if names:
        name = draws.choice(names)
        before = getattr(layer, name).data
        shape = draws.choice([before.shape, before.shape, before.shape[::-1], (1,), (*before.shape[:-1], 2), (0,)])
        dtype = draws.choice([world.dtype, world.dtype, np.float32, np.float64])
        setattr(layer, name, draws.choice([None, *[nn.Parameter(np.full(shape, 0.1, dtype))] * 3]))


def replace_buffer(world, draws):
    """Another buffer in the place of one, of its shape or not."""
    layer = a_layer(world, draws)
    if layer._buffer_names:
        name = draws.choice(layer._buffer_names)
        before = getattr(layer, name)
        choices = [before.copy(), before[:1], before.astype(np.float64), before.astype(np.float32), np.ones((0,))]
        if before.ndim:
            choices += [
                np.repeat(before, 2)[::2],
                np.ones(before.shape, int),
                np.broadcast_to(before[:1], before.shape),
            ]
        setattr(layer, name, draws.choice(choices))


def set_attribute(world, draws):
    """Another value for an option of a layer, of the loss or of the optimizer, sensible or not."""
    if draws.random() < 0.2:
        group = draws.choice(world.optimizer.param_groups)
        name = draws.choice([name for name in group if name != "params"])
        group[name] = draws.choice([group[name], 0.1, 0.0, -1.0, 1, True])
        return
    owner = draws.choice([a_layer(world, draws), world.criterion])
    plain = (int, float, tuple, str)
    names = [n for n, v in vars(owner).items() if isinstance(v, plain) and not n.startswith("_") and n != "training"]
    if names:
        name = draws.choice(names)
        before = getattr(owner, name)
        if isinstance(before, tuple):
            other = tuple(draws.choice([0, 1, 2, 5, -1, 2**40]) for _ in before)
        elif isinstance(before, str):
            other = draws.choice(["mean", "sum", "none", "odd"])
        else:
            other = draws.choice([before + 1, 0, 1, -1, 2**40, 0.3, 1e-300, -0.5])
        setattr(owner, name, other)


def change_layers(world, draws):
    """One layer more, one less, or others in their places."""
    kind, layers = draws.randrange(4), world.layers._layers
    if kind == 0:
        world.layers.append(
            draws.choice([nn.Tanh(), nn.Linear(world.classes, world.classes, dtype=world.dtype), nn.ReLU()])
        )
    elif kind == 1 and len(layers) > 1:
        layers.pop(draws.choice(list(layers)), None)
    elif kind == 2:
        layers[draws.choice(list(layers))] = draws.choice([nn.Tanh(), nn.Linear(3, 4), nn.Dropout(0.5), nn.Flatten()])
    else:
        name = draws.choice(list(layers))
        layers[name] = copy.deepcopy(layers[name])


def reshape_in_place(world, draws):
    """Another shape, or another dtype, of an array that is in use."""
    parameter = a_parameter(world, draws)
    array = draws.choice([world.x, *world.targets(), parameter.data, parameter.grad])
    shape = draws.choice([(-1,), (1, -1), (-1, 1), array.shape[::-1], (-1, *array.shape[2:], array.shape[0])])
    array.shape = shape


def step(world, draws):
    """A step by hand."""
    n = draws.randint(1, 20)
    x, y = world.part(slice(n))
    gradient = world.gradient(world.model(x), y)
    if draws.random() < 0.1:
        x.shape = (-1, *x.shape[2:])
    world.model.backward(gradient)
    draws.choice([world.optimizer.step, world.optimizer.zero_grad, world.model.zero_grad])()


def trainer_step(world, draws):
    """A step of a trainer, which may be one that fits."""
    x, y = world.part(slice(draws.randint(1, 20)))
    if draws.random() < 0.1:
        x.shape = (-1, *x.shape[2:])
    world.trainer.step(x, y)


def backward_again(world, draws):
    """Forwards and backwards that do not belong together."""
    y = world.model(world.x[: draws.randint(1, 20)])
    if draws.random() < 0.5:
        astype(world, draws)
    world.model.backward(mapped(y, np.ones_like))
    world.model.backward(mapped(y, np.ones_like))


def pull(world, draws):
    """A pullback that is called again, by whoever finds it."""
    if draws.random() < 0.5 or not hasattr(world, "pulling"):
        y, pullback = world.model.vjp(world.x[: draws.randint(1, 20)])
        world.pulling = pullback, mapped(y, np.ones_like)
    pullback, ones = world.pulling
    for adds in (True, False):
        pullback(ones, parameters=adds)


def astype(world, draws):
    """Another dtype."""
    draws.choice([world.model, a_parameter(world, draws)]).astype(draws.choice([np.float32, np.float64]))


def other_optimizer(world, draws):
    """Another optimizer, which moves the parameters."""
    made = draws.choice([optim.SGD, optim.Adam])(world.model.parameters(), lr=0.001)
    if draws.random() < 0.3:
        world.trainer.optimizer = world.optimizer = made
    elif draws.random() < 0.5:
        made.step()


def load_trainer(world, draws):
    """Load a training state, if one was saved."""
    path = os.path.join(world.folder, f"state{draws.randrange(2)}")
    if os.path.exists(path):
        world.trainer.load(path)


def change_modes(world, draws):
    """Another mode of the model, or of a layer."""
    world.mode_changed = True
    draws.choice([world.model, a_layer(world, draws)]).train(draws.random() < 0.5)


def leave(world, draws):
    """Raise what a handler may raise."""
    if world.may_change:
        raise draws.choice([Disturbed, Disturbed, KeyboardInterrupt])("on purpose")


def fit_again(world, draws):
    """Another trainer's fit of the same model."""
    if getattr(world, "again", 0) < 3:
        world.again = getattr(world, "again", 0) + 1
        trainer = Trainer(world.model, world.criterion, optim.SGD(world.model.parameters(), lr=0.001))
        trainer.fit(*world.part(slice(30)), epochs=2, batch_size=8, progress=False)


def finalizer(world, draws):
    """An object whose finalizer does something: amid a collection of garbage, and before Python 3.12 at once.

    There CPython itself crashes where a collection begins amid a change of a context variable, such as np.errstate makes, and
    something in it changes another one.
    """

    class Last:
        def __del__(self):
            attempt(draws.choice([other_step, other_optimizer, astype, PURE[6]]), world, draws)

    last = Last()
    if sys.version_info >= (3, 12):
        last.itself = last


CHANGING = [
    reshape_in_place,
    replace_parameter,
    replace_buffer,
    set_attribute,
    change_layers,
    step,
    trainer_step,
    backward_again,
    pull,
    astype,
    other_optimizer,
    load_trainer,
    change_modes,
    leave,
    leave,
    fit_again,
    finalizer,
    lambda w, d: in_place(w.x, d),
    lambda w, d: in_place(d.choice(w.targets()), d),
    lambda w, d: in_place(a_parameter(w, d).data, d),
    lambda w, d: in_place(a_parameter(w, d).grad, d),
    lambda w, d: setattr(p := a_parameter(w, d), "data", values(p.data, d)),
    lambda w, d: a_parameter(w, d).zero_grad(),
    lambda w, d: setattr(a_parameter(w, d), "requires_grad", d.random() < 0.5),
    lambda w, d: w.optimizer.step(),
    lambda w, d: w.optimizer.load_state_dict(w.optimizer.state_dict()),
    lambda w, d: w.model.load_state_dict({name: 0.9 * value for name, value in w.model.state_dict().items()}),
    lambda w, d: w.model.reset_parameters(rng=d.randrange(99)),
    lambda w, d: w.trainer.stop(),
    lambda w, d: setattr(w.trainer, "clip_norm", d.choice([None, 0.1, 1.0])),
    lambda w, d: fastdl.set_winograd(d.random() < 0.5),
    lambda w, d: fastdl.manual_seed(d.randrange(99)),
]
# After these any error may come, but no crash.
CARELESS = [reshape_in_place, replace_parameter, replace_buffer, set_attribute]
OWN_WORDS = (
    "call the model",
    "does not fit",
    "expected",
    "is not finite",
    "the loss is",
    "write ",
    "on purpose",
    "out of bounds",
)
KINDS = (RuntimeError, ValueError, TypeError, IndexError, FloatingPointError, KeyboardInterrupt, Disturbed)
HERE = os.path.dirname(os.path.abspath(__file__))


def expected(error, world):
    """Whether an error is one that fastdl says, or that came up in the script's own lines after changes.

    Where options, parameters or shapes were set to what no constructor takes, any error is fine: only crashes count.
    """
    if isinstance(error, KINDS) and any(word in str(error) for word in OWN_WORDS):
        return True
    *_, last = traceback.walk_tb(error.__traceback__)
    return world.careless or (world.may_change and last[0].f_code.co_filename.startswith(HERE))


def attempt(action, world, draws):
    """Do it; what fastdl refuses with a sentence of its own is fine, everything else is a fault."""
    world.careless = world.careless or action in CARELESS
    try:
        action(world, draws)
    except Fault:
        world.faults.append(traceback.format_exc())
    except (Disturbed, KeyboardInterrupt):
        raise
    except BaseException as error:
        if not expected(error, world):
            world.faults.append(traceback.format_exc())
