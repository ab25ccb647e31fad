"""Optimizers: the flat buffers, what is stepped and what is left alone, groups, state, and the papers' conventions."""

import copy
import pickle

import numpy as np
import pytest

from fastdl import nn, optim
from fastdl.nn import Parameter

MAKERS = {
    "SGD": lambda params: optim.SGD(params, lr=0.1),
    "SGD-momentum": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    "RMSprop": lambda params: optim.RMSprop(params, lr=0.01),
    "RMSprop-centered": lambda params: optim.RMSprop(params, lr=0.01, momentum=0.5, centered=True),
    "Adam": lambda params: optim.Adam(params, lr=0.01),
    "Adam-amsgrad": lambda params: optim.Adam(params, lr=0.01, weight_decay=0.1, amsgrad=True),
    "AdamW": lambda params: optim.AdamW(params, lr=0.01),
}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


def parameters(*shapes, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [Parameter(rng.standard_normal(shape).astype(dtype)) for shape in shapes]


def give_gradients(params, seed):
    rng = np.random.default_rng(seed)
    for parameter in params:
        parameter.grad = rng.standard_normal(parameter.shape)


def walk(params, optimizer, seeds):
    for seed in seeds:
        give_gradients(params, seed)
        optimizer.step()


def values(params):
    return [parameter.data.copy() for parameter in params]


def same(params, others):
    return all((p.data == q.data).all() for p, q in zip(params, others, strict=True))


def network(seed=0, dtype=np.float64):
    return nn.Sequential(nn.Linear(3, 5, rng=seed, dtype=dtype), nn.Tanh(), nn.Linear(5, 2, rng=seed + 1, dtype=dtype))


def train(model, optimizer, steps=1):
    rng = np.random.default_rng(3)
    for _ in range(steps):
        dtype = model[0].weight.dtype
        optimizer.zero_grad()
        y = model(rng.standard_normal((4, 3)).astype(dtype))
        model.backward(y)
        optimizer.step()


# The flat buffers.


def root(array):
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def test_data_and_gradients_become_views_into_one_buffer_each(dtype):
    params = parameters((3, 5), (5,), (), (0, 4), (2, 3), dtype=dtype)
    before = values(params)
    give_gradients(params, 1)
    gradients = [parameter.grad.copy() for parameter in params]
    optim.SGD(params)
    assert len({id(root(parameter.data)) for parameter in params}) == 1
    assert len({id(root(parameter.grad)) for parameter in params}) == 1
    assert root(params[0].data) is not root(params[0].grad)
    for parameter, value, gradient in zip(params, before, gradients, strict=True):
        assert parameter.data.dtype == parameter.grad.dtype == dtype
        assert (parameter.data == value).all()
        assert (parameter.grad == gradient).all()
        assert parameter.data.ctypes.data % 64 == parameter.grad.ctypes.data % 64 == 0
        assert parameter.data.flags.c_contiguous


def test_assignment_copies_into_the_views(make):
    params = parameters((3, 5), (5,))
    optimizer = make(params)
    data, grad = params[0].data, params[0].grad
    params[0].data = np.ones((3, 5))
    params[0].grad = np.full((3, 5), 2.0)
    assert params[0].data is data
    assert params[0].grad is grad
    assert (data == 1).all()
    assert (grad == 2).all()
    optimizer.step()
    assert (data != 1).all()


def test_what_backward_adds_is_what_the_optimizer_steps_by():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    before = values(model.parameters())
    model(np.ones((4, 3)))
    model.backward(np.ones((4, 2)))
    gradients = [parameter.grad.copy() for parameter in model.parameters()]
    assert all(gradient.any() for gradient in gradients)
    optimizer.step()
    for parameter, value, gradient in zip(model.parameters(), before, gradients, strict=True):
        np.testing.assert_allclose(parameter.data, value - 0.5 * gradient, rtol=1e-12)


def test_the_optimizers_zero_grad_reaches_every_gradient_also_the_frozen():
    params = parameters((3, 5), (5,))
    optimizer = optim.SGD(params)
    give_gradients(params, 1)
    params[1].requires_grad = False
    optimizer.zero_grad()
    assert not any(parameter.grad.any() for parameter in params)


def test_steps_do_not_depend_on_how_parameters_lie_beside_each_other(make):
    together = parameters((3, 5), (5,), (1,), (17,))
    apart = parameters((3, 5), (5,), (1,), (17,))
    one, others = make(together), [make([parameter]) for parameter in apart]
    for seed in range(4):
        give_gradients(together, seed)
        give_gradients(apart, seed)
        one.step()
        for other in others:
            other.step()
    for parameter, alone in zip(together, apart, strict=True):
        np.testing.assert_allclose(parameter.data, alone.data, rtol=1e-14)


# What is stepped.


def test_a_frozen_parameter_is_left_alone_and_goes_on_when_released(make):
    params, free = parameters((3,), (4,), (5,)), parameters((3,), (4,), (5,))
    optimizer, reference = make(params), make(free)
    walk(params, optimizer, [0])
    walk(free, reference, [0])
    params[1].requires_grad = False
    before = params[1].data.copy()
    state = optimizer.state_dict()["state"][1]
    for seed in (1, 2):
        give_gradients(params, seed)
        give_gradients(free, seed)
        free[1].grad = np.zeros(4)
        optimizer.step()
        reference.step()
    assert (params[1].data == before).all()
    after = optimizer.state_dict()["state"][1]
    assert all(np.array_equal(after[name], state[name]) for name in state)
    assert (params[0].data == free[0].data).all()
    assert (params[2].data == free[2].data).all()
    params[1].requires_grad = True
    walk(params, optimizer, [3])
    assert (params[1].data != before).all()
    assert [entry["step"] for entry in optimizer.state_dict()["state"].values()] == [4, 2, 4]


def test_a_parameter_frozen_at_first_takes_its_first_step_when_released(make):
    late, fresh = parameters((3,), (4,)), parameters((3,), (4,))
    late[1].requires_grad = False
    optimizer = make(late)
    walk(late, optimizer, [0, 1])
    late[1].requires_grad = True
    walk(late, optimizer, [2])
    alone = make(fresh[1:])
    give_gradients(fresh, 2)
    alone.step()
    np.testing.assert_allclose(late[1].data, fresh[1].data, rtol=1e-14)


def test_a_zero_gradient_is_a_step_in_which_momentum_acts():
    (p,) = parameters((3,))
    optimizer = optim.SGD([p], lr=1.0, momentum=0.5)
    p.grad = np.ones(3)
    optimizer.step()
    before = p.data.copy()
    p.grad = np.zeros(3)
    optimizer.step()
    np.testing.assert_allclose(p.data, before - 0.5, rtol=1e-12)


@pytest.mark.parametrize("options", [{"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled_weight_decay": True}])
def test_a_zero_gradient_is_a_step_in_which_decay_acts(options):
    (p,) = parameters((3,))
    before = p.data.copy()
    optim.SGD([p], lr=0.5, **options).step()
    np.testing.assert_allclose(p.data, before * (1 - 0.5 * 0.1), rtol=1e-12)


def test_a_tied_parameter_is_stepped_once():
    model = nn.Sequential(nn.Linear(3, 3, dtype=np.float64), nn.Linear(3, 3, dtype=np.float64))
    model[1].weight = model[0].weight
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    model(np.ones((2, 3)))
    model.backward(np.ones((2, 3)))
    before, gradient = model[0].weight.data.copy(), model[0].weight.grad.copy()
    optimizer.step()
    np.testing.assert_allclose(model[1].weight.data, before - gradient, rtol=1e-12)
    assert model[1].weight.data is model[0].weight.data


def test_maximize_climbs(make):
    down, up = parameters((4,)), parameters((4,))
    one, other = make(down), make(up)
    for group in other.param_groups:
        group["maximize"] = True
        group["weight_decay"] = 0.0
    for group in one.param_groups:
        group["weight_decay"] = 0.0
    give_gradients(down, 1)
    up[0].grad = -down[0].grad
    one.step()
    other.step()
    np.testing.assert_allclose(up[0].data, down[0].data, rtol=1e-14)


# Groups.


def test_each_group_has_its_own_options():
    params = parameters((3,), (3,))
    before = values(params)
    optimizer = optim.SGD([{"params": params[:1], "lr": 1.0}, {"params": params[1]}], lr=0.25)
    for parameter in params:
        parameter.grad = np.ones(3)
    optimizer.step()
    np.testing.assert_allclose(params[0].data, before[0] - 1.0, rtol=1e-12)
    np.testing.assert_allclose(params[1].data, before[1] - 0.25, rtol=1e-12)
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 0.25]


def test_one_group_may_have_momentum_and_another_none():
    params = parameters((3,), (3,))
    optimizer = optim.SGD([{"params": params[:1], "momentum": 0.5}, {"params": params[1:]}], lr=1.0)
    before = values(params)
    for _ in range(2):
        for parameter in params:
            parameter.grad = np.ones(3)
        optimizer.step()
    np.testing.assert_allclose(params[0].data, before[0] - 2.5, rtol=1e-12)
    np.testing.assert_allclose(params[1].data, before[1] - 2.0, rtol=1e-12)


def test_options_may_be_changed_between_steps():
    (p,) = parameters((3,))
    before = p.data.copy()
    optimizer = optim.SGD([p], lr=1.0)
    p.grad = np.ones(3)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.step()
    np.testing.assert_allclose(p.data, before - 1.5, rtol=1e-12)


def test_momentum_may_be_turned_on_between_steps():
    (p,) = parameters((3,))
    before = p.data.copy()
    optimizer = optim.SGD([p], lr=1.0)
    p.grad = np.ones(3)
    optimizer.step()
    optimizer.param_groups[0]["momentum"] = 0.5
    optimizer.step()
    optimizer.step()
    np.testing.assert_allclose(p.data, before - 1 - 1 - 1.5, rtol=1e-12)


# Two optimizers, and parameters that move.


def test_two_optimizers_over_the_same_parameters_may_take_turns(make):
    params = parameters((3, 5), (5,))
    one, other = make(params), optim.SGD(params, lr=0.1)
    reference = parameters((3, 5), (5,))
    state = None
    for seed in range(3):
        for step in (one, other):
            give_gradients(params, seed)
            step.step()
        give_gradients(reference, seed)
        alone = make(reference)
        if state:
            alone.load_state_dict(state)
        alone.step()
        state = alone.state_dict()
        for parameter in reference:
            parameter.data -= 0.1 * parameter.grad
    for parameter, want in zip(params, reference, strict=True):
        np.testing.assert_allclose(parameter.data, want.data, rtol=1e-12)


def test_an_optimizer_of_a_part_of_the_parameters_leaves_the_others():
    model = network()
    whole, part = optim.SGD(model.parameters(), lr=0.1), optim.SGD(model[2].parameters(), lr=0.1)
    train(model, whole)
    before = model[0].weight.data.copy()
    train(model, part)
    assert (model[0].weight.data == before).all()
    train(model, whole)
    assert (model[0].weight.data != before).any()


def test_a_second_optimizer_between_forward_and_backward_does_no_harm():
    model, twin = network(), network()
    one, other = optim.SGD(model.parameters(), lr=0.1), optim.SGD(twin.parameters(), lr=0.1)
    x, gy = np.ones((4, 3)), np.ones((4, 2))
    for net, optimizer in ((model, one), (twin, other)):
        net(x)
        if net is model:
            optim.Adam(net.parameters())
        optimizer.zero_grad()
        net.backward(gy)
        optimizer.step()
    assert same(model.parameters(), twin.parameters())


def test_a_model_may_change_its_dtype_between_steps(make):
    model, twin = network(), network()
    optimizer, other = make(model.parameters()), make(twin.parameters())
    train(model, optimizer, 2)
    train(twin, other, 2)
    model.astype(np.float32)
    train(model, optimizer, 2)
    train(twin, other, 2)
    for parameter, want in zip(model.parameters(), twin.parameters(), strict=True):
        assert parameter.data.dtype == parameter.grad.dtype == np.float32
        np.testing.assert_allclose(parameter.data, want.data, rtol=1e-3, atol=1e-4)


def test_a_part_of_another_dtype_is_refused_at_the_next_step_and_changed_in_nothing():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    model[0].astype(np.float32)
    before = values(model.parameters())
    with pytest.raises(ValueError, match="SGD: expected parameters of one dtype, got float32 and float64"):
        optimizer.step()
    assert all(
        (p.data == value).all() and p.dtype == value.dtype for p, value in zip(model.parameters(), before, strict=True)
    )


# The state.


def test_a_loaded_state_goes_on_bit_by_bit(make, dtype):
    params, twins = parameters((3, 5), (17,), dtype=dtype), parameters((3, 5), (17,), dtype=dtype)
    optimizer, other = make(params), make(twins)
    walk(params, optimizer, range(3))
    state = pickle.loads(pickle.dumps(optimizer.state_dict()))
    for parameter, twin in zip(params, twins, strict=True):
        twin.data = parameter.data
    other.load_state_dict(state)
    walk(params, optimizer, range(3, 6))
    walk(twins, other, range(3, 6))
    assert same(params, twins)


def test_a_loaded_state_brings_its_options():
    params = parameters((3,))
    trained, fresh = optim.SGD(params, lr=0.5, momentum=0.9), optim.SGD(parameters((3,)), lr=0.1)
    walk(params, trained, [0])
    fresh.load_state_dict(trained.state_dict())
    assert fresh.param_groups[0]["momentum"] == 0.9
    assert fresh.param_groups[0]["lr"] == 0.5
    got, want = fresh.state_dict()["state"][0], trained.state_dict()["state"][0]
    assert (got["momentum_buffer"] == want["momentum_buffer"]).all()
    fresh.step()


def test_state_dict_has_torchs_layout_and_holds_copies():
    params = parameters((3, 5), (5,))
    optimizer = optim.Adam([{"params": params[:1]}, {"params": params[1:], "lr": 0.5}], lr=0.1)
    walk(params, optimizer, [0])
    state = optimizer.state_dict()
    assert [group["params"] for group in state["param_groups"]] == [[0], [1]]
    assert [group["lr"] for group in state["param_groups"]] == [0.1, 0.5]
    assert list(state["state"][0]) == ["step", "exp_avg", "exp_avg_sq"]
    assert state["state"][0]["exp_avg"].shape == (3, 5)
    assert state["state"][0]["step"] == 1
    state["state"][0]["exp_avg"][...] = 99
    assert not (optimizer.state_dict()["state"][0]["exp_avg"] == 99).any()


@pytest.mark.parametrize(
    ("options", "names"),
    [({}, []), ({"momentum": 0.9}, ["momentum_buffer"])],
)
def test_state_dict_holds_the_arrays_in_use(options, names):
    optimizer = optim.SGD(parameters((2,)), lr=0.1, **options)
    assert list(optimizer.state_dict()["state"][0]) == ["step", *names]


def spoil(*path, value):
    def change(state):
        for key in path[:-1]:
            state = state[key]
        if value is KeyError:
            del state[path[-1]]
        else:
            state[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (spoil("state", value=KeyError), ValueError),
        (spoil("param_groups", value=KeyError), ValueError),
        (spoil("state", value=5), TypeError),
        (spoil("param_groups", value=5), TypeError),
        (spoil("param_groups", value=[5, 6]), TypeError),
        (spoil("param_groups", value=[]), ValueError),
        (spoil("param_groups", 0, "params", value=3), ValueError),
        (spoil("param_groups", 0, "params", value=[0, 1]), ValueError),
        (spoil("param_groups", 1, "lr", value=np.nan), ValueError),
        (spoil("param_groups", 1, "lr", value="fast"), TypeError),
        (spoil("param_groups", 1, "betas", value=(0.9, 1.0)), ValueError),
        (spoil("param_groups", 1, "amsgrad", value="yes"), TypeError),
        (spoil("param_groups", 1, "speed", value=1), ValueError),
        (spoil("state", 1, value=KeyError), ValueError),
        (spoil("state", 1, value=[1]), ValueError),
        (spoil("state", 1, "exp_avg", value=KeyError), ValueError),
        (spoil("state", 1, "exp_avg", value=np.zeros(4)), ValueError),
        (spoil("state", 1, "exp_avg", value=np.array([None] * 5)), ValueError),
        (spoil("state", 1, "exp_avg_sq", value="many"), ValueError),
        *(
            (spoil("state", 1, "step", value=step), ValueError)
            for step in (-1, 0.5, np.nan, np.inf, "one", None, [1, 2])
        ),
    ],
)
def test_a_bad_state_is_refused_and_changes_nothing(change, error):
    params = parameters((3, 5), (5,))
    optimizer = optim.Adam([{"params": params[:1]}, {"params": params[1:], "lr": 0.5}])
    walk(params, optimizer, [0])
    before = pickle.dumps(optimizer.state_dict())
    other = optim.Adam([{"params": params[:1]}, {"params": params[1:], "lr": 0.25}], betas=(0.5, 0.5))
    walk(params, other, [1, 2])
    state = other.state_dict()
    change(state)
    with pytest.raises(error, match=r"Adam(\.load_state_dict)?: expected"):
        optimizer.load_state_dict(state)
    assert pickle.dumps(optimizer.state_dict()) == before


def as_torch_writes(optimizer, **notes):
    state = optimizer.state_dict()
    for group in state["param_groups"]:
        names = [str(number) for number in group["params"]]
        group |= {"foreach": None, "fused": None, "differentiable": False, "param_names": names, **notes}
        for name in ("eps_inside_sqrt", "decoupled_weight_decay"):
            group.pop(name, None)
    return state


def test_what_torch_and_its_schedulers_note_beside_the_options_is_left_out(make):
    model = network()
    optimizer, other = make(model.parameters()), make(network().parameters())
    train(model, optimizer)
    other.load_state_dict(as_torch_writes(optimizer, initial_lr=3.0, max_lr=0.5, swa_lr=2, name="head"))
    assert repr(other) == repr(optimizer)


@pytest.mark.parametrize("name", ["rho", "momentum", "etas"])
def test_an_option_of_another_optimizer_is_refused_in_a_state_of_torchs(name):
    params = parameters((2,))
    with pytest.raises(ValueError, match=f"expected options lr, .*, got '{name}'"):
        optim.Adam(params).load_state_dict(as_torch_writes(optim.Adam(params), **{name: 0.5}))
    state = as_torch_writes(optim.Adam(params))
    del state["param_groups"][0]["amsgrad"]
    with pytest.raises(ValueError, match="expected the state of torch's Adam, got one without amsgrad"):
        optim.Adam(params).load_state_dict(state)


def test_adamw_stays_adamw():
    params = parameters((2,))
    optimizer = optim.AdamW(params)
    optimizer.load_state_dict(optim.Adam(params, weight_decay=0.3).state_dict())
    assert optimizer.param_groups[0]["decoupled_weight_decay"] is True
    assert optimizer.param_groups[0]["weight_decay"] == 0.3
    with pytest.raises(ValueError, match="AdamW: expected decoupled_weight_decay=True, got False"):
        optim.AdamW([{"params": params, "decoupled_weight_decay": False}])


def test_adam_with_the_state_of_an_adamw_decays_as_that_does():
    params = parameters((2,))
    optimizer = optim.Adam(params)
    optimizer.load_state_dict(optim.AdamW(params).state_dict())
    assert optimizer.param_groups[0]["decoupled_weight_decay"] is True


@pytest.mark.parametrize("state", [None, 5, [], "state"])
def test_a_state_is_a_dictionary(state):
    with pytest.raises(TypeError, match=r"SGD\.load_state_dict: expected a dictionary"):
        optim.SGD(parameters((2,))).load_state_dict(state)


DUPLICATES = {"deepcopy": copy.deepcopy, "pickle": lambda pair: pickle.loads(pickle.dumps(pair))}


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
def test_model_and_optimizer_copied_together_stay_together(make, duplicate):
    model = network()
    optimizer = make(model.parameters())
    train(model, optimizer, 2)
    twin, twins_optimizer = duplicate((model, optimizer))
    before = values(model.parameters())
    train(twin, twins_optimizer, 3)
    assert all((p.data == value).all() for p, value in zip(model.parameters(), before, strict=True))
    train(model, optimizer, 3)
    assert same(model.parameters(), twin.parameters())


@pytest.mark.parametrize("duplicate", DUPLICATES.values(), ids=DUPLICATES)
def test_a_copy_made_in_the_other_order_stays_together_too(duplicate):
    model = network()
    optimizer = optim.Adam(model.parameters())
    train(model, optimizer)
    twins_optimizer, twin = duplicate((optimizer, model))
    train(twin, twins_optimizer, 2)
    train(model, optimizer, 2)
    assert same(model.parameters(), twin.parameters())


# Conventions of the papers, against formulas.


def naive_walk(p, gradients, update):
    state = {}
    for t, g in enumerate(gradients, 1):
        p = update(p, g, state, t)
    return p


GRADIENTS = np.random.default_rng(5).standard_normal((6, 40)) * 1e-3
START = np.random.default_rng(6).standard_normal(40)


def follow(make_optimizer):
    p = Parameter(START)
    optimizer = make_optimizer([p])
    for g in GRADIENTS:
        p.grad = g
        optimizer.step()
    return p.data


@pytest.mark.parametrize("inside", [False, True])
def test_adam_divides_by_the_root_with_eps_inside_or_beside_it(inside):
    def update(p, g, state, t):
        state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
        state["v"] = 0.99 * state.get("v", 0) + 0.01 * g * g
        m, v = state["m"] / (1 - 0.9**t), state["v"] / (1 - 0.99**t)
        return p - 0.1 * m / (np.sqrt(v + 1e-4) if inside else np.sqrt(v) + 1e-4)

    got = follow(lambda params: optim.Adam(params, lr=0.1, betas=(0.9, 0.99), eps=1e-4, eps_inside_sqrt=inside))
    np.testing.assert_allclose(got, naive_walk(START, GRADIENTS, update), rtol=1e-12)


@pytest.mark.parametrize("inside", [False, True])
def test_rmsprop_divides_by_the_root_with_eps_inside_or_beside_it(inside):
    def update(p, g, state, t):
        state["s"] = 0.9 * state.get("s", 0) + 0.1 * g * g
        return p - 0.1 * g / (np.sqrt(state["s"] + 1e-6) if inside else np.sqrt(state["s"]) + 1e-6)

    got = follow(lambda params: optim.RMSprop(params, lr=0.1, alpha=0.9, eps=1e-6, eps_inside_sqrt=inside))
    np.testing.assert_allclose(got, naive_walk(START, GRADIENTS, update), rtol=1e-12)


@pytest.mark.parametrize("decoupled", [False, True])
def test_sgd_decays_through_the_velocity_or_apart_from_it(decoupled):
    def update(p, g, state, t):
        d = g if decoupled else g + 0.1 * p
        state["v"] = 0.9 * state["v"] + d if state else d
        return (p * (1 - 0.5 * 0.1) if decoupled else p) - 0.5 * state["v"]

    got = follow(
        lambda params: optim.SGD(params, lr=0.5, momentum=0.9, weight_decay=0.1, decoupled_weight_decay=decoupled)
    )
    np.testing.assert_allclose(got, naive_walk(START, GRADIENTS, update), rtol=1e-12)


def test_decoupled_decay_of_lambda_over_the_rate_is_paper_000s():
    lam, lr = 1e-3, 0.25

    def update(p, g, state, t):
        return p - lr * g - lam * p

    got = follow(lambda params: optim.SGD(params, lr=lr, weight_decay=lam / lr, decoupled_weight_decay=True))
    np.testing.assert_allclose(got, naive_walk(START, GRADIENTS, update), rtol=1e-12)


@pytest.mark.parametrize("decoupled", [False, True])
def test_rmsprop_decays_through_the_gradient_or_apart_from_it(decoupled):
    def update(p, g, state, t):
        d = g if decoupled else g + 0.1 * p
        state["s"] = 0.99 * state.get("s", 0) + 0.01 * d * d
        return (p * (1 - 0.01 * 0.1) if decoupled else p) - 0.01 * d / (np.sqrt(state["s"]) + 1e-8)

    got = follow(lambda params: optim.RMSprop(params, lr=0.01, weight_decay=0.1, decoupled_weight_decay=decoupled))
    np.testing.assert_allclose(got, naive_walk(START, GRADIENTS, update), rtol=1e-12)


def test_adam_with_decoupled_decay_is_adamw():
    adam = follow(lambda params: optim.Adam(params, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True))
    adamw = follow(lambda params: optim.AdamW(params, lr=0.01, weight_decay=0.1))
    coupled = follow(lambda params: optim.Adam(params, lr=0.01, weight_decay=0.1))
    assert (adam == adamw).all()
    assert (adam != coupled).any()


def test_repr_shows_groups_and_options():
    params = parameters((2,), (3,))
    optimizer = optim.RMSprop([{"params": params[:1]}, {"params": params[1:], "lr": 0.5}], lr=0.1)
    assert repr(optimizer).startswith("RMSprop(1 parameters, lr=0.1, alpha=0.99, ")
    assert "; 1 parameters, lr=0.5, " in repr(optimizer)


def test_forgotten_gradients_count_as_zeros_and_the_next_backward_sets_them():
    layer = nn.Linear(2, 1, rng=0)
    optimizer = optim.SGD(layer.parameters(), lr=1.0)
    x, gy = np.ones((3, 2), np.float32), np.ones((3, 1), np.float32)

    def backward():
        layer(x)
        layer.backward(gy)

    backward()
    optimizer.forget_gradients()
    backward()
    np.testing.assert_array_equal(layer.weight.grad, [[3, 3]])
    np.testing.assert_array_equal(layer.bias.grad, [3])
    backward()
    np.testing.assert_array_equal(layer.weight.grad, [[6, 6]])
    optimizer.forget_gradients()
    np.testing.assert_array_equal(layer.weight.grad, [[0, 0]])
    backward()  # the weight's gradient was looked at, the bias's was not
    np.testing.assert_array_equal(layer.weight.grad, [[3, 3]])
    np.testing.assert_array_equal(layer.bias.grad, [3])


def test_a_step_after_forgetting_and_no_backward_changes_nothing():
    layer = nn.Linear(2, 1, rng=0)
    optimizer = optim.SGD(layer.parameters(), lr=1.0)
    layer.weight.grad, before = [[5.0, 5.0]], layer.weight.data.copy()
    optimizer.forget_gradients()
    optimizer.step()
    np.testing.assert_array_equal(layer.weight.data, before)
