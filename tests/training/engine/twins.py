"""The same training twice, by the native engine and by the plain one, and what is left of it."""

from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.graph.lowering import Lowered, Lowering, program
from fastdl.graph.lowering.blocks import live_in_blocks
from fastdl.graph.lowering.plans import forget
from fastdl.random import Stream, drawing_from
from fastdl.training import fit_loop, native_engine
from fastdl.training.engine import PlainEngine, Task
from fastdl.training.native_engine import NativeEngine

# What rounding may do, relative to the largest magnitude of an array and absolutely.
TOLERANCE = {np.float32: 2e-4, np.float64: 1e-10}


class Parts(NamedTuple):
    """What a training is made of, drawn anew for each engine."""

    model: nn.Module
    criterion: Any
    optimizer: Any
    clip_value: float | None = None
    clip_norm: float | None = None
    after_backward: Callable[[], object] | None = None


def left(parts: Any) -> dict[str, np.ndarray]:
    """Everything that training changes: weights, buffers, gradients, the optimizer's state and steps."""
    found = dict(parts.model.state_dict())
    found |= {f"gradient of {name}": p.grad.copy() for name, p in parts.model.named_parameters()}
    if isinstance(parts.optimizer, optim.Optimizer):
        for number, entry in parts.optimizer.state_dict()["state"].items():
            found |= {f"{name} of {number}": np.asarray(value) for name, value in entry.items()}
        for number, p in enumerate(parts.optimizer._parameters):
            found |= {f"parameter {number}": p.data.copy(), f"gradient {number}": p.grad.copy()}
    return found


def assert_same(native: dict[str, Any], plain: dict[str, Any], dtype: Any) -> None:
    """Raise AssertionError unless both hold the same to rounding."""
    assert native.keys() == plain.keys()
    for name, want in plain.items():
        want, got = np.asarray(want), np.asarray(native[name])
        assert got.dtype == want.dtype, name
        assert np.isfinite(want).all(), name
        bound = TOLERANCE[dtype] * max(1e-3, float(np.abs(want).max(initial=0)))
        np.testing.assert_allclose(got, want, rtol=0, atol=bound, err_msg=name)


def epochs(
    make: Callable[[], Parts],
    x: np.ndarray,
    y: np.ndarray,
    native: bool,
    *,
    batch_size: int = 3,
    shuffle: bool = True,
    count: int = 2,
) -> dict[str, Any]:
    """What some epochs leave, with the losses and outputs."""
    parts, rng = make(), np.random.default_rng(5)
    task = Task(*parts)
    engine = NativeEngine(task, x, y, batch_size) if native else PlainEngine(task, "a test wants it")
    outputs: list[Any] = []
    losses = []
    with drawing_from(Stream(np.random.default_rng(3))):
        for _ in range(count):
            assert engine.current()
            order = rng.permutation(len(x)) if shuffle else None
            losses.append(engine.epoch(x, y, order, batch_size, outputs)[:3])
    return left(parts) | {"losses": np.array(losses), "outputs": np.concatenate(outputs)}


def assert_bits_do_not_depend_on_threads(run: Callable[[], dict[str, Any]]) -> None:
    """Raise AssertionError unless it leaves the same bits with several numbers of threads."""
    results = []
    for count in (1, 2, 3, 8):
        fastdl.set_num_threads(count)
        results.append(run())
    for other in results[1:]:
        for key, values in results[0].items():
            np.testing.assert_array_equal(other[key], values, err_msg=key)


def compare(make: Callable[[], Parts], x: np.ndarray, y: np.ndarray, **options: Any) -> dict[str, Any]:
    """Train by both engines; they must leave the same, and not what they began with. Returns what is left."""
    before = left(make())
    native, plain = (epochs(make, x, y, which, **options) for which in (True, False))
    assert_same(native, plain, x.dtype.type)
    assert any(not np.array_equal(before[name], native[name]) for name in before if not name.startswith("gradient"))
    return native


def fit(
    make: Callable[[], Parts],
    x: Any,
    y: Any,
    native: bool,
    change: Callable[..., Any] | None = None,
    trainer_options: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Trainer, Parts]:
    """Fit with the engine that belongs to the model, or with the plain one."""
    parts = make()
    trainer = Trainer(
        parts.model,
        parts.criterion,
        parts.optimizer,
        clip_value=parts.clip_value,
        clip_norm=parts.clip_norm,
        **(trainer_options(parts) if callable(trainer_options) else trainer_options or {}),
    )
    arguments = {"epochs": 3, "batch_size": 4, "seed": 1, "progress": False} | options
    if change is not None:
        arguments["callbacks"] = [change(parts)]
    if native:
        trainer.fit(x, y, **arguments)
    else:
        with mock.patch.object(fit_loop, "engine_for", lambda task, *_: PlainEngine(task, "a test wants it")):
            trainer.fit(x, y, **arguments)
    return trainer, parts


def compare_fits(make: Callable[[], Parts], x: Any, y: Any, **options: Any) -> Trainer:
    """Fit with both engines; models, optimizers and histories must be the same. Returns the native one's trainer."""
    (native, its), (plain, others) = (fit(make, x, y, which, **options) for which in (True, False))
    dtype = next(its.model.parameters()).dtype.type
    assert native.history.engine.startswith("native"), native.history.engine
    assert_same(left(its), left(others), dtype)
    assert native.history.names == plain.history.names
    for name in native.history.names:
        if name != "seconds":
            assert_same({name: native.history[name]}, {name: plain.history[name]}, dtype)
    assert native.rng is not None
    assert plain.rng is not None
    assert native.rng.bit_generator.state == plain.rng.bit_generator.state
    return native


class Lowerings(NamedTuple):
    """What a program was made of: operations, blocks, and the bytes of its arena."""

    operations: list[Any]
    blocks: list[Any]
    nbytes: int


def lowered_by(plan: Callable[[], object]) -> Lowerings:
    """What an engine lowers, which is planned anew."""
    found: list[Lowerings] = []

    class Watched(Lowering):
        def lowered(self, criterion: int = -1) -> Lowered:
            lowered = super().lowered(criterion)
            operations = [each for row in self.operations.values() for each in row]
            found.append(Lowerings(operations, list(self.blocks.values()), lowered.nbytes))
            return lowered

    forget()
    with mock.patch.object(native_engine, "Lowering", Watched):
        plan()
    (only,) = found
    return only


def assert_shared_storages_live_long_enough(monkeypatch: Any, plan: Callable[[], object]) -> None:
    """What several blocks share must not stand where another block writes: all of a span, or of the program, is theirs."""
    calls = []

    def watched(rows: Any, batch_size: int, storages: Any) -> None:
        before = {id(each): (each.first, each.last) for each in storages}
        live_in_blocks(rows, batch_size, storages)
        calls.append((rows, before, [each for each in storages if each.place_of is None and each.first >= 0]))

    forget()
    monkeypatch.setattr(program, "live_in_blocks", watched)
    plan()
    ((rows, before, storages),) = calls
    assert rows
    assert any(each.own for each in storages) or all(row.cut.operations == 1 for row in rows)
    for each in storages:
        spans = [span for row in rows for span in row.spans]
        if each.own:
            assert any(begin <= each.first <= each.last < stop for begin, stop in spans)
            continue
        for begin, stop in spans:
            assert each.last < begin or each.first >= stop or (each.first <= begin and each.last >= stop - 1)
        for row in rows:
            # The forward of a later block may run behind the backward of an earlier one.
            (first, loss), (_, last) = (row.spans[0][0], row.spans[0][1]), row.spans[-1]
            used, until = before[id(each)]
            if row.whole and any(used < stop and until >= begin for begin, stop in [(first, loss + 1), row.spans[-1]]):
                assert each.first <= first
                assert each.last >= last - 1
