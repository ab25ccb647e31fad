"""A trainer's single steps: as little as can be between the caller and the kernels, while nothing that they depend on changes."""

cimport cython
cimport numpy as cnp
from cpython.dict cimport PyDict_Contains, PyDict_GetItem
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t
from posix.unistd cimport getpid

from fastdl._kernels.grad_mode cimport runs_eagerly, traces
from fastdl._kernels.program.call cimport Form
from fastdl._kernels.program.frame cimport Frame
from fastdl._kernels.program.program cimport Program, TrainOptions
from fastdl._kernels.watch cimport Read, Watch, holds

import numpy as np

cnp.import_array()

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident() noexcept nogil


@cython.final
cdef class Batches:
    """Batches like one: an array, or a tuple or dictionary of arrays, or None.

    Args:
        batch: a batch.
    """

    cdef tuple keys
    cdef bint alone, named
    cdef list forms

    def __init__(self, batch):
        self.named, self.alone = isinstance(batch, dict), isinstance(batch, np.ndarray)
        self.keys = tuple(batch) if self.named else ()
        arrays = [] if batch is None else [batch] if self.alone else [*batch.values()] if self.named else [*batch]
        self.forms = [Form(array) for array in arrays]

    def __reduce__(self):
        raise TypeError("Batches: expected to stay in its process, for it belongs to a program's addresses; call Trainer.step again")

    cdef bint read(self, batch, list found, Py_ssize_t least, Py_ssize_t most) except -1:
        """Add its arrays to those found, as a program reads them; whether it is such a batch."""
        cdef Py_ssize_t number, count = len(self.forms)
        cdef cnp.ndarray array
        cdef PyObject* value
        if not count:
            return batch is None
        if not self.alone and (type(batch) is not (dict if self.named else tuple) or len(batch) != count):
            return False
        for number in range(count):
            if self.alone:
                value = <PyObject*>batch
            elif self.named:
                value = PyDict_GetItem(batch, self.keys[number])
                if value == NULL:
                    return False
            else:
                value = <PyObject*>(<tuple>batch)[number]
            array = (<Form>self.forms[number]).read(<object>value, least, most)
            if array is None or (found and cnp.PyArray_DIM(array, 0) != cnp.PyArray_DIM(<cnp.ndarray>found[0], 0)):
                return False
            found.append(array)
        return True


@cython.final
cdef class StepCall:
    """A trainer's step on batches like one, of `least` up to `most` samples.

    Args:
        program, frame, options: of the engine whose steps these are; the options are for one batch, and watch the model.
        engine: does what takes Python: `begin_step`, `optimizer_now`, and `refuse` where a step has failed.
        trainer: the trainer's attributes; "_runner" among them says that a fit runs.
        held: (dictionary, name, value) of what is to be as it was, such as the trainer's optimizer.
        surroundings: whether what forward and loss read beside that is as it was; None where that is nothing.
        optimizer: whether the optimizer and its options are as they were.
        parameters: all that the optimizer changes.
        kind: their class, which counts how often they were bound to other turns.
        takes: whether the loss may read such targets; None where it may read all.
        stream: gives the stream that dropout draws from.
        least, most: the samples of a batch.
        x, y: Batches.
        inputs: which of their arrays the program reads, in its order.
        criterion: the loss.
        alike: whether another criterion computes the same.
    """

    cdef Program program
    cdef Frame frame
    cdef TrainOptions options
    cdef Watch optimizer
    cdef Read surroundings
    cdef object engine, kind, takes, stream, criterion, alike, refits
    cdef dict trainer
    cdef list held, parameters, inputs
    cdef Batches x, y
    cdef Py_ssize_t least, most

    def __init__(
        self, Program program not None, Frame frame not None, TrainOptions options not None, *, engine, dict trainer not None,
        list held not None, surroundings: Read | None, Watch optimizer not None, list parameters not None, kind,
        takes: Callable[[Any], bool] | None, stream: Callable[[], Any], Py_ssize_t least, Py_ssize_t most, Batches x not None,
        Batches y not None, list inputs not None, criterion, alike: Callable[[Any, Any], bool],
    ):
        self.program, self.frame, self.options, self.engine, self.trainer = program, frame, options, engine, trainer
        self.held, self.surroundings, self.optimizer = held, surroundings, optimizer
        self.parameters, self.kind, self.takes, self.stream, self.least, self.most = parameters, kind, takes, stream, least, most
        self.x, self.y, self.inputs, self.criterion, self.alike, self.refits = x, y, inputs, criterion, alike, None

    def __reduce__(self):
        raise TypeError("StepCall: expected to stay in its process, for it holds addresses; call Trainer.step again")

    def reads(self, x, y) -> bool:
        """Tell whether a batch is like those that this is for."""
        cdef list arrays = []
        return self.x.read(x, arrays, self.least, self.most) and self.y.read(y, arrays, self.least, self.most)

    cdef bint suits(self, criterion, bint in_fit) except -1:
        """Whether the trainer, its model and this criterion are those that this was made for, and no fit but this one runs."""
        cdef PyObject* own = PyDict_GetItem(self.trainer, "criterion")
        if criterion is None and own != NULL:
            criterion = <object>own
        if criterion is not self.criterion and not self.alike(self.criterion, criterion):
            return False
        if traces() or runs_eagerly() or (not in_fit and PyDict_Contains(self.trainer, "_runner")) or not holds(self.held):
            return False
        return self.surroundings is None or self.surroundings.same() or self.surroundings.stand()

    cdef int begin(self) except -1:
        """Let gradients be what a step begins with."""
        if self.kind.refits is not self.refits:
            self.engine.begin_step()
            self.refits = self.kind.refits
        else:
            for parameter in self.parameters:
                if parameter._forgotten:
                    parameter._forgotten = False

    cdef bint prepare(self, x, y, criterion, bint in_fit, list arrays) except -1:
        """Let all be ready for a step, with the batch's arrays; False where the call is not like those that this is for."""
        if not self.suits(criterion, in_fit):
            return False
        if not (self.x.read(x, arrays, self.least, self.most) and self.y.read(y, arrays, self.least, self.most)):
            return False
        if self.takes is not None and not self.takes(arrays[len(self.x.forms)]):
            return False
        if not self.optimizer.unchanged():
            now = self.engine.optimizer_now()
            if now is None:
                return False
            self.options.updates, self.optimizer = now
        self.begin()
        return True

    cdef tuple take(self, x, y, list arrays, bint in_fit):
        """Take a step, and return the loss's sum, what its mean divides that by, and the terms' sums.

        None where another thread has changed the model, and nothing is done; the error where the step has failed.
        """
        cdef TrainOptions options = self.options
        cdef uint64_t seed = 0, draw = 0
        cdef tuple result
        cdef double total, count
        cdef Py_ssize_t done, failed
        cdef bint fine
        if self.program.draws:
            seed, draw = self.stream().take(self.program.draws)
        options.inputs = [arrays[number] for number in self.inputs]
        options.rows = options.batch_size = cnp.PyArray_DIM(<cnp.ndarray>arrays[0], 0)
        options.seed, options.call = seed, draw
        try:
            result = self.program.train(self.frame, options)
        finally:
            options.inputs = []
        fine, done, _, total, count, terms, _, _, failed = result
        if not fine or failed >= 0:
            self.engine.refuse(result, x, y, seed, in_fit)
        if done == options.rows:
            return total, count, terms
        if self.program.draws:
            self.stream().put_back(draw, draw + self.program.draws)
        return None

    def step(self, x, y, criterion) -> float | None:
        """Take a step and return its loss; None, and nothing is done, where the call is not like those that this is for."""
        cdef list arrays = []
        cdef tuple found
        cdef double total, count
        if not self.prepare(x, y, criterion, False, arrays):
            return None
        runner = getpid(), PyThread_get_thread_ident()
        self.trainer["_runner"] = runner
        try:
            found = self.take(x, y, arrays, False)
        finally:
            if self.trainer.get("_runner") is runner:
                del self.trainer["_runner"]
        if found is None:
            return None
        total, count, _ = found
        return total if self.options.sums else total / count if count else float("nan")

    def step_in_fit(self, x, y) -> tuple[float, float, list[float]] | None:
        """Take a step of the trainer's fit that runs.

        Returns the sum of the losses, what their mean divides it by, and the terms' sums; None where `step` does.
        """
        cdef list arrays = []
        return self.take(x, y, arrays, True) if self.prepare(x, y, None, True, arrays) else None
