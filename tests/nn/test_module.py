"""Module and Parameter: what an instance finds in itself, stores, loads and copies."""

import copy
import pickle

import numpy as np
import pytest

from fastdl import nn
from fastdl.nn import Module, Parameter


class Affine(Module):
    """y = factor x + running, with a parameter, a buffer and a plain attribute."""

    def __init__(self, size=3):
        self.size = size
        self.factor = Parameter(np.full(size, 2.0, dtype=np.float32))
        self.register_buffer("running", np.zeros(size, dtype=np.float32))
        self.register_buffer("count", np.zeros(1, dtype=np.int64))

    def forward(self, x):
        self.x = x
        return self.factor.data * x + self.running

    def backward(self, grad_output):
        self.factor.grad += (grad_output * self.x).sum(axis=0)
        return self.factor.data * grad_output


class Net(Module):
    def __init__(self):
        self.first = nn.Linear(2, 3, rng=1)
        self.act = nn.Tanh()
        self.affine = Affine()

    def forward(self, x):
        return self.affine(self.act(self.first(x)))

    def backward(self, grad_output):
        return self.first.backward(self.act.backward(self.affine.backward(grad_output)))


NAMES = ["first.weight", "first.bias", "affine.factor", "affine.running", "affine.count"]


def snapshot(model):
    return {name: array.tobytes() for name, array in model.state_dict().items()}


# Parts are found by looking through the attributes.


def test_parts_assigned_to_attributes_are_found():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES[:3]
    assert [name for name, _ in net.named_buffers()] == NAMES[3:]
    assert [name for name, _ in net.named_children()] == ["first", "act", "affine"]
    assert [name for name, _ in net.named_modules()] == ["", "first", "act", "affine"]
    assert [*net.parameters()] == [net.first.weight, net.first.bias, net.affine.factor]
    assert next(net.buffers()) is net.affine.running
    assert [*net.children()] == [net.first, net.act, net.affine]
    assert [*net.modules()] == [net, net.first, net.act, net.affine]


def test_a_part_assigned_later_is_found_and_a_removed_one_is_not():
    net = Net()
    net.last = nn.Linear(3, 1)
    assert "last.weight" in dict(net.named_parameters())
    net.last = None
    assert "last.weight" not in dict(net.named_parameters())
    del net.affine
    assert list(net.state_dict()) == NAMES[:2]


def test_a_bias_may_be_taken_away():
    layer = nn.Linear(2, 3)
    layer.bias = None
    assert list(layer.state_dict()) == ["weight"]
    x = np.ones((4, 2), dtype=np.float32)
    np.testing.assert_allclose(layer(x), x @ layer.weight.data.T, rtol=1e-6)
    assert repr(layer) == "Linear(2, 3, bias=False)"


def test_a_tied_parameter_has_one_place_among_parameters_and_each_name_in_the_state_dict():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert list(model.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]


def test_a_repeated_module_is_listed_once_under_its_first_name():
    relu = nn.ReLU()
    model = nn.Sequential(relu, nn.Linear(2, 2), relu)
    assert [name for name, _ in model.named_modules()] == ["", "0", "1"]
    assert [*model.children()] == [relu, model[1]]
    assert [name for name, _ in model.named_children()] == ["0", "1", "2"]


# state_dict and load_state_dict.


def test_state_dict_holds_copies():
    net = Net()
    state = net.state_dict()
    assert list(state) == NAMES
    before = snapshot(net)
    for array in state.values():
        array += 1
    assert snapshot(net) == before


def test_load_state_dict_copies_values_into_the_arrays_that_are_there():
    net, other = Net(), Net()
    other.reset_parameters(5)
    other.affine.count[0] = 7
    data = net.first.weight.data
    state = other.state_dict()
    assert net.load_state_dict(state) == ([], [])
    assert snapshot(net) == snapshot(other)
    assert net.first.weight.data is data
    state["first.weight"][...] = 9
    assert not (data == 9).any()


def test_load_state_dict_takes_numbers_of_another_dtype():
    net = Net()
    net.load_state_dict({name: array.astype(np.float64) + 1 for name, array in net.state_dict().items()})
    assert net.first.weight.dtype == np.float32
    assert (net.affine.factor.data == 3).all()
    assert net.affine.count[0] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("first.bias"), "missing first.bias"),
        (lambda state: state.update(more=np.zeros(1)), "unexpected more"),
        (
            lambda state: state.update({"first.bias": np.zeros(4)}),
            r"first.bias of shape \(4,\) where the model has \(3,\)",
        ),
        (lambda state: state.update({"affine.running": np.zeros((3, 1))}), "affine.running of shape"),
        (lambda state: (state.pop("first.bias"), state.update(more=0)), "missing first.bias; unexpected more"),
    ],
    ids=["missing", "unexpected", "misshapen", "misshapen-buffer", "several"],
)
def test_load_state_dict_refuses_what_does_not_fit_and_changes_nothing(change, message):
    net = Net()
    before = snapshot(net)
    state = {name: array + 1 for name, array in net.state_dict().items()}
    change(state)
    with pytest.raises(ValueError, match=f"load_state_dict: Net does not fit: .*{message}"):
        net.load_state_dict(state)
    assert snapshot(net) == before


def test_load_state_dict_without_strict_takes_what_fits_by_name_and_returns_the_rest():
    net = Net()
    left = net.load_state_dict({"first.bias": np.ones(3), "more": np.zeros(1)}, strict=False)
    assert left.unexpected_keys == ["more"]
    assert left.missing_keys == [name for name in NAMES if name != "first.bias"]
    assert (net.first.bias.data == 1).all()


def test_load_state_dict_without_strict_still_refuses_other_shapes_and_changes_nothing():
    net = Net()
    before = snapshot(net)
    with pytest.raises(ValueError, match=r"first\.bias of shape"):
        net.load_state_dict({"first.weight": np.ones((3, 2)), "first.bias": np.zeros(2)}, strict=False)
    assert snapshot(net) == before


@pytest.mark.parametrize("state", [None, 3, [("first.bias", 1)], "weights"])
def test_load_state_dict_wants_a_dictionary(state):
    with pytest.raises(TypeError, match="load_state_dict: expected a dictionary"):
        Net().load_state_dict(state)


@pytest.mark.parametrize("value", [np.array(["a", "b", "c"]), np.array([None] * 3), np.zeros(3, dtype=complex)])
def test_load_state_dict_wants_real_numbers_and_changes_nothing(value):
    net = Net()
    before = snapshot(net)
    state = {name: array + 1 for name, array in net.state_dict().items()}
    with pytest.raises(TypeError, match=r"load_state_dict: expected real numbers for affine\.factor"):
        net.load_state_dict(state | {"affine.factor": value})
    assert snapshot(net) == before


def test_load_state_dict_names_an_entry_that_is_ragged_and_changes_nothing():
    net = Net()
    before = snapshot(net)
    state = {name: array + 1 for name, array in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"load_state_dict: expected an array for affine\.factor, got rows of several"):
        net.load_state_dict(state | {"affine.factor": [[1], [2, 3]]})
    assert snapshot(net) == before


# Buffers.


def test_a_buffer_may_be_assigned_anew_and_stays_a_buffer():
    affine = Affine()
    affine.running = np.ones(3, dtype=np.float32)
    assert (affine.state_dict()["running"] == 1).all()
    assert next(affine.buffers()) is affine.running


def test_a_buffer_registered_twice_stands_once():
    affine = Affine()
    affine.register_buffer("running", np.ones(3, dtype=np.float32))
    assert list(affine.state_dict()) == ["factor", "running", "count"]


def test_buffers_of_one_class_are_not_those_of_another_instance():
    one, other = nn.ReLU(), nn.ReLU()
    one.register_buffer("mean", np.zeros(2))
    assert list(one.state_dict()) == ["mean"]
    assert list(other.state_dict()) == []


@pytest.mark.parametrize(
    ("name", "array", "error"),
    [
        ("mean", 1.0, TypeError),
        ("mean", None, TypeError),
        (5, np.zeros(1), TypeError),
        ("a.b", np.zeros(1), ValueError),
    ],
)
def test_register_buffer_refuses_what_is_no_buffer(name, array, error):
    module = nn.ReLU()
    with pytest.raises(error, match="register_buffer: expected"):
        module.register_buffer(name, array)
    assert not module.state_dict()


# Modes, dtypes and gradients.


def test_train_and_eval_reach_every_module_and_return_the_model():
    net = Net()
    assert net.training
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    assert net.train() is net
    assert all(module.training for module in net.modules())
    net.act.eval()
    assert [module.training for module in net.modules()] == [True, True, False, True]


def test_modes_reach_modules_that_come_later():
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.5)))
    model.eval().train().eval()
    model.append(nn.Dropout(0.5))
    model[1].append(nn.ReLU())
    model[1]._layers["0"] = nn.Dropout(0.1)
    model.first = nn.Tanh()
    assert not any(module.training for module in model.eval().modules())
    assert all(module.training for module in model.train().modules())
    twin = copy.deepcopy(model)
    assert not any(module.training for module in twin.eval().modules())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("mode", [None, 1, "yes"])
def test_train_wants_true_or_false(mode):
    with pytest.raises(TypeError, match="train: expected True or False"):
        Net().train(mode)


@pytest.mark.parametrize("dtype", [np.float64, "float64", np.dtype(np.float64), float])
def test_astype_changes_parameters_gradients_and_floating_buffers(dtype):
    net = Net()
    net.first.weight.grad = np.ones((3, 2))
    values = net.first.weight.data.copy()
    assert net.astype(dtype) is net
    assert {p.dtype for p in net.parameters()} == {p.grad.dtype for p in net.parameters()} == {np.dtype(np.float64)}
    assert (net.first.weight.data == values).all()
    assert (net.first.weight.grad == 1).all()
    assert net.affine.running.dtype == np.float64
    assert net.affine.count.dtype == np.int64
    assert net(np.ones((1, 2))).dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float16, np.int32, "complex64", "nonsense", None, ">f4", object])
def test_astype_refuses_other_dtypes_and_changes_nothing(dtype):
    net = Net()
    with pytest.raises(TypeError, match="astype: expected dtype float32 or float64"):
        net.astype(dtype)
    with pytest.raises(TypeError, match=r"Parameter\.astype: expected dtype float32 or float64"):
        net.first.weight.astype(dtype)
    assert {parameter.dtype for parameter in net.parameters()} == {np.dtype(np.float32)}


def test_gradients_add_up_until_zero_grad_which_keeps_the_arrays():
    net = Net()
    x, gy = np.ones((4, 2), dtype=np.float32), np.ones((4, 3), dtype=np.float32)
    net(x)
    net.backward(gy)
    once = [parameter.grad.copy() for parameter in net.parameters()]
    arrays = [parameter.grad for parameter in net.parameters()]
    net(x)
    net.backward(gy)
    for parameter, grad in zip(net.parameters(), once, strict=True):
        np.testing.assert_allclose(parameter.grad, 2 * grad, rtol=1e-6)
    net.zero_grad()
    assert all(not array.any() for array in arrays)
    assert all(parameter.grad is array for parameter, array in zip(net.parameters(), arrays, strict=True))


def test_reset_parameters_draws_anew_and_by_seed():
    net = Net()
    before = net.first.weight.data.copy()
    net.reset_parameters(3)
    third = net.first.weight.data.copy()
    net.reset_parameters(3)
    assert (net.first.weight.data == third).all()
    assert (third != before).any()
    net.reset_parameters(np.random.default_rng(4))
    assert (net.first.weight.data != third).any()


def test_reset_parameters_draws_from_the_layers_own_initializers():
    layer = nn.Linear(3, 2, weight_init=nn.init.constant(0.5), bias_init=nn.init.zeros())
    layer.weight.data = np.ones((2, 3))
    layer.bias.data = np.ones(2)
    layer.reset_parameters()
    assert (layer.weight.data == 0.5).all()
    assert (layer.bias.data == 0).all()


def test_layers_of_one_model_do_not_draw_the_same_numbers():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model.reset_parameters(0)
    assert (model[0].weight.data != model[1].weight.data).any()


# Freezing.


def test_a_frozen_parameter_is_not_differentiated_and_the_others_are():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    model[0].weight.requires_grad = False
    model[1].bias.requires_grad = False
    model(np.ones((4, 2), dtype=np.float32))
    model.backward(np.ones((4, 2), dtype=np.float32))
    assert not model[0].weight.grad.any()
    assert not model[1].bias.grad.any()
    assert model[0].bias.grad.any()
    assert model[1].weight.grad.any()


def test_the_gradient_of_the_input_goes_through_frozen_parameters():
    layer = nn.Linear(2, 3, rng=0)
    x, gy = np.ones((4, 2), dtype=np.float32), np.ones((4, 3), dtype=np.float32)
    layer(x)
    want = layer.backward(gy)
    assert layer.requires_grad_(False) is layer
    assert not any(parameter.requires_grad for parameter in layer.parameters())
    layer(x)
    assert (layer.backward(gy) == want).all()


def test_the_bias_of_a_frozen_weight_learns_alone():
    layer, free = nn.Linear(2, 3, rng=0), nn.Linear(2, 3, rng=0)
    layer.weight.requires_grad = False
    gy = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    for each in (layer, free):
        each(np.ones((2, 2, 2), dtype=np.float32))
        each.backward(gy)
    assert not layer.weight.grad.any()
    np.testing.assert_allclose(layer.bias.grad, free.bias.grad, rtol=1e-6)


# Spelling.


@pytest.mark.parametrize(
    ("module", "spec"),
    [
        (nn.Linear(2, 25), "Linear(2, 25)"),
        (nn.Linear(2, 25, bias=False, rng=0), "Linear(2, 25, bias=False)"),
        (
            nn.Linear(2, 25, weight_init=nn.init.xavier_normal(gain=2)),
            "Linear(2, 25, weight_init=xavier_normal(gain=2.0))",
        ),
        (nn.LeakyReLU(0.2), "LeakyReLU(negative_slope=0.2)"),
        (nn.LeakyReLU(), "LeakyReLU()"),
        (nn.GELU("tanh"), "GELU(approximate='tanh')"),
        (nn.Residual(nn.Linear(2, 2), nn.Identity()), "Residual(Linear(2, 2), shortcut=Identity())"),
        (nn.Parallel(nn.ReLU(), nn.Tanh()), "Parallel(ReLU(), Tanh())"),
        (nn.Siamese(nn.Sequential(nn.ReLU())), "Siamese(Sequential(ReLU()))"),
        (nn.HuberLoss(delta=2.0), "HuberLoss(delta=2.0)"),
        (nn.CrossEntropyLoss([1, 2]), "CrossEntropyLoss(weight=[1.0, 2.0])"),
        (Affine(4), "Affine(size=4)"),
    ],
    ids=str,
)
def test_a_module_is_spelled_as_its_constructor_call(module, spec):
    assert module.spec() == spec


def test_repr_is_a_tree_like_torchs():
    model = nn.Sequential({"body": nn.Residual(nn.Sequential(nn.Linear(2, 2), nn.ReLU())), "head": nn.Linear(2, 1)})
    assert repr(model) == (
        "Sequential(\n"
        "  (body): Residual(\n"
        "    (body): Sequential(\n"
        "      (0): Linear(2, 2)\n"
        "      (1): ReLU()\n"
        "    )\n"
        "  )\n"
        "  (head): Linear(2, 1)\n"
        ")"
    )


def test_a_parameter_shows_shape_dtype_and_whether_it_is_frozen():
    assert repr(Parameter(np.zeros((2, 3)))) == "Parameter(shape=(2, 3), dtype=float64)"
    assert (
        repr(Parameter(np.zeros(1), requires_grad=False)) == "Parameter(shape=(1,), dtype=float64, requires_grad=False)"
    )


# Copies.


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_has_the_same_values_and_its_own_arrays(duplicate):
    net = Net()
    net.first.bias.requires_grad = False
    x = np.ones((4, 2), dtype=np.float32)
    net.eval()(x)
    twin = duplicate(net)
    assert snapshot(twin) == snapshot(net)
    assert repr(twin) == repr(net)
    assert not twin.act.training
    assert not twin.first.bias.requires_grad
    assert (twin(x) == net(x)).all()
    twin.first.weight.data[...] = 0
    twin.affine.running[...] = 5
    assert net.first.weight.data.any()
    assert not net.affine.running.any()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_what_is_tied_stays_tied_in_a_copy(duplicate):
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    twin = duplicate(model)
    assert twin[2].weight is twin[0].weight
    assert twin[0].weight is not model[0].weight


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_leaves_behind_what_forward_kept(duplicate):
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    size = len(pickle.dumps(model))
    model(np.ones((10_000, 2), dtype=np.float32))
    assert len(pickle.dumps(model)) < size + 100
    with pytest.raises(RuntimeError, match="expected a forward before each backward"):
        duplicate(model).backward(np.ones((10_000, 3), dtype=np.float32))


# Parameter.


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: a[:, ::-1], lambda a: np.broadcast_to(a[:1], (2, 3))])
def test_a_parameter_copies_any_layout_into_contiguous_memory(layout):
    array = layout(np.arange(6.0).reshape(2, 3))
    parameter = Parameter(array)
    assert (parameter.data == array).all()
    assert parameter.data.flags.c_contiguous
    assert parameter.data.flags.writeable
    assert not np.shares_memory(parameter.data, array)


def test_a_parameter_starts_with_a_gradient_of_zeros():
    parameter = Parameter(np.ones((2, 3), dtype=np.float32))
    assert parameter.grad.shape == parameter.shape == (2, 3)
    assert parameter.grad.dtype == parameter.dtype == np.float32
    assert parameter.size == 6
    assert not parameter.grad.any()


@pytest.mark.parametrize("name", ["data", "grad"])
def test_assignment_to_data_and_grad_copies_into_the_array(name):
    parameter = Parameter(np.ones((2, 3), dtype=np.float32))
    array = getattr(parameter, name)
    given = np.arange(6.0).reshape(2, 3)
    setattr(parameter, name, given)
    assert getattr(parameter, name) is array
    assert (array == given).all()
    given[...] = 7
    assert not (array == 7).any()


@pytest.mark.parametrize("name", ["data", "grad"])
@pytest.mark.parametrize(
    ("value", "error"),
    [(np.zeros((3, 2)), ValueError), (np.zeros(3), ValueError), (0.0, ValueError), (None, TypeError),
     (np.zeros((2, 3), dtype=complex), TypeError), ([["a"] * 3] * 2, TypeError)],
)  # fmt: skip
def test_assignment_refuses_other_shapes_and_kinds_and_changes_nothing(name, value, error):
    parameter = Parameter(np.ones((2, 3)))
    before = getattr(parameter, name).copy()
    with pytest.raises(error, match=f"Parameter.{name}: expected"):
        setattr(parameter, name, value)
    assert (getattr(parameter, name) == before).all()


@pytest.mark.parametrize(
    "data", [np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.float16), [1, 2], None, "ab", [None]]
)
def test_a_parameter_is_float32_or_float64(data):
    with pytest.raises(TypeError, match="Parameter: expected an array of float32 or float64"):
        Parameter(data)


@pytest.mark.parametrize("value", [None, 1, "no"])
def test_requires_grad_is_true_or_false(value):
    with pytest.raises(TypeError, match="expected True or False for requires_grad"):
        Parameter(np.zeros(1), requires_grad=value)
    parameter = Parameter(np.zeros(1))
    with pytest.raises(TypeError, match="expected True or False for requires_grad"):
        parameter.requires_grad = value
    assert parameter.requires_grad


# What a subclass leaves out.


def test_a_module_without_forward_or_backward_says_which_to_define():
    class Half(Module):
        def forward(self, x):
            return x / 2

    with pytest.raises(TypeError, match="Module has no forward: define forward"):
        Module()(np.ones(1))
    half = Half()
    assert half(np.ones(1)) == 0.5
    np.testing.assert_array_equal(half.backward(np.ones(1)), [0.5])  # derived from forward

    class OfLists(Module):
        traced = False

        def forward(self, x):
            return x.tolist()

    of_lists = OfLists()
    assert of_lists(np.ones(1)) == [1.0]
    with pytest.raises(
        TypeError, match=r"OfLists\.forward: expected to return what is computed of its inputs, got list"
    ):
        of_lists.backward(np.ones(1))


def test_a_weight_of_another_shape_between_forward_and_backward_is_refused():
    layer = nn.Linear(40, 3)
    layer(np.ones((5, 40), np.float32))
    layer.in_features, layer.weight = 2, nn.Parameter(np.ones((3, 2), np.float32))
    with pytest.raises(ValueError, match=r"expected a weight of shape \(3, 40\), got \(3, 2\)"):
        layer.backward(np.ones((5, 3), np.float32))
