"""Descriptors: what an operation, a loss and an optimizer are to plans and programs, stated once beside their kernels."""

# By name; the kernels' files enter them.
DESCRIPTORS = {}  # type: dict[str, Descriptor]
LOSSES = {}  # type: dict[str, LossDescriptor]
OPTIMIZERS = {}  # type: dict[str, OptimizerDescriptor]


def operation_named(str name not None) -> Descriptor:
    """The operation's descriptor, for copies."""
    return DESCRIPTORS[name]


def loss_named(str name not None) -> LossDescriptor:
    """The loss's descriptor, for copies."""
    return LOSSES[name]


def optimizer_named(str name not None) -> OptimizerDescriptor:
    """The optimizer's descriptor, for copies."""
    return OPTIMIZERS[name]


cdef class Descriptor:
    """An operation of programs.

    Args:
        name: its stable name.
        attributes: packs the attributes of an operation, a dictionary by name, as its kernels read them.
        parameters, saved, buffers: names of its parameters, of what forward leaves for backward, of the state it moves.
        reads: which of "x" and "y" its backward reads.
        in_place: whether y may take the place of x, and gx that of gy.
        in_blocks: whether it may run on a block of samples at a time.
        convolves, multiplies: whether it is a convolution, or a product of rows.
        activates: whether an activation that follows may become a part of it.
        omits: whether its forward may leave out what it saves, where no backward follows.
        maxima: whether its outputs are maxima of its inputs, so that a ReLU before it may become a part of it.
        batch_minor: the name of the operation that computes the same where x and y are batch-minor.
        steps: whether its backward may take the step of its first parameter.
    """

    def __init__(
        self, str name not None, attributes: Callable[[dict[str, Any]], bytes], *, tuple parameters=(), tuple saved=(),
        tuple buffers=(), reads: Iterable[str] = (), bint in_place=False, bint in_blocks=False, bint convolves=False,
        bint multiplies=False, bint activates=False, bint omits=False,
        bint maxima=False, str batch_minor="", bint steps=False,
    ):
        self.name, self.attributes, self.parameters, self.saved, self.buffers = name, attributes, parameters, saved, buffers
        self.reads, self.in_place, self.in_blocks, self.convolves = frozenset(reads), in_place, in_blocks, convolves
        self.multiplies, self.activates, self.omits, self.maxima = multiplies, activates, omits, maxima
        self.batch_minor, self.steps = batch_minor, steps

    def __repr__(self):
        return f"Descriptor({self.name!r})"

    def __reduce__(self):
        return operation_named, (self.name,)


cdef int describe(Descriptor descriptor, const OperationKernels* kernels) except -1:
    """Enter an operation with its C functions."""
    descriptor.kernels = kernels[0]
    DESCRIPTORS[descriptor.name] = descriptor
    return 0


cdef class LossDescriptor:
    """A loss of programs: its stable name, and what packs its attributes, a dictionary by name."""

    def __init__(self, str name not None, attributes: Callable[[dict[str, Any]], bytes]):
        self.name, self.attributes = name, attributes

    def __repr__(self):
        return f"LossDescriptor({self.name!r})"

    def __reduce__(self):
        return loss_named, (self.name,)


cdef int describe_loss(LossDescriptor descriptor, const LossKernels* kernels) except -1:
    """Enter a loss with its C functions."""
    descriptor.kernels = kernels[0]
    LOSSES[descriptor.name] = descriptor
    return 0


cdef class OptimizerDescriptor:
    """An optimizer of programs: its stable name, and what packs its options, a dictionary by name."""

    def __init__(self, str name not None, options: Callable[[dict[str, Any]], bytes]):
        self.name, self.options = name, options

    def __repr__(self):
        return f"OptimizerDescriptor({self.name!r})"

    def __reduce__(self):
        return optimizer_named, (self.name,)


cdef int describe_optimizer(OptimizerDescriptor descriptor, const OptimizerKernels* kernels) except -1:
    """Enter an optimizer with its C functions."""
    descriptor.kernels = kernels[0]
    OPTIMIZERS[descriptor.name] = descriptor
    return 0


# The bases of operands, as a plan writes them.
BASE_NONE = NONE  # type: int
BASE_ARENA = ARENA  # type: int
BASE_BLOCK = BLOCK  # type: int
BASE_ARRAYS = ARRAYS  # type: int
