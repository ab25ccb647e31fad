"""The program of a traced graph: layers' operations, nodes and losses, forward and backward, in one order."""

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.math cimport NAN, isfinite
from libc.string cimport memset

from fastdl._kernels.descriptor cimport place
from fastdl._kernels.node cimport (
    DONE, FLOATING, MOST_AXES, MOST_EXTENTS, MOST_OPERANDS, Arrays, NodeDescriptor, View, extent, resolve,
)
from fastdl._kernels.program.objective cimport objective_backward, objective_divisor, objective_forward, objective_scratch
from fastdl._kernels.program.blocks cimport (
    add_gradients, at_once, block_scratch, first_not_finite_in_blocks, run_blocks, run_through_blocks,
)
from fastdl._kernels.program.operation cimport (
    backward_operation, finite_output, forward_operation, operation_scratch,
)
from fastdl._kernels.program.records cimport load_objective, load_operand

# The kinds of entries, as a lowering writes them.
RUN_FORWARD = FORWARD  # type: int
RUN_BACKWARD = BACKWARD  # type: int
RUN_NODE = NODE  # type: int
RUN_LOSS = LOSS  # type: int
RUN_LOSS_BACKWARD = LOSS_BACKWARD  # type: int
RUN_PYTHON = PYTHON  # type: int
RUN_BLOCKS_FORWARD = BLOCKS_FORWARD  # type: int
RUN_BLOCKS_BACKWARD = BLOCKS_BACKWARD  # type: int
RUN_BLOCKS_THROUGH = BLOCKS_THROUGH  # type: int
RUN_BLOCK_GRADIENTS = BLOCK_GRADIENTS  # type: int


cdef int load_blocks(Blocks* blocks, tuple given) except -1:
    (blocks.count, blocks.first, blocks.size, blocks.lone, blocks.criterion, blocks.sums, blocks.memory, gradients,
     losses) = given
    load_operand(&blocks.gradients, gradients)
    load_operand(&blocks.losses, losses)
    return 0


cdef inline Py_ssize_t following(list numbers, Py_ssize_t* read) except? -1:
    """The first number that has not been read."""
    read[0] += 1
    return numbers[read[0] - 1]


cdef inline int load_following(Extent* to, list numbers, Py_ssize_t* read) except -1:
    to.count = following(numbers, read)
    to.power = following(numbers, read)
    return 0


cdef Py_ssize_t count_views(list numbers, Py_ssize_t nodes) except -1:
    """The operands of so many nodes."""
    cdef Py_ssize_t found = 0, read = 0, axes, extents, count, _
    for _ in range(nodes):
        axes = following(numbers, &read)
        extents = following(numbers, &read)
        count = following(numbers, &read)
        found += count
        read += 2 * (axes + extents) + count * (7 + 2 * axes)
    return found


cdef int load_node(
    Node* node, NodeDescriptor descriptor, bytes attributes, View* view, list numbers, Py_ssize_t* read) except -1:
    """Fill in a node and its views."""
    cdef Py_ssize_t extents, i, axis, _
    node.kernels, node.attributes, node.views = &descriptor.kernels, <const void*><const char*>attributes, view
    node.axes = following(numbers, read)
    extents = following(numbers, read)
    node.count = following(numbers, read)
    if node.axes > MOST_AXES or node.count > MOST_OPERANDS or extents > MOST_EXTENTS:
        raise ValueError(f"EntryList: expected at most {MOST_AXES} axes and {MOST_OPERANDS} operands, got more")
    for i in range(node.axes):
        load_following(node.sizes + i, numbers, read)
    for i in range(extents):
        load_following(node.extents + i, numbers, read)
    for _ in range(node.count):
        view.operand.base = following(numbers, read)
        view.operand.offset = following(numbers, read)
        view.operand.stride = following(numbers, read)
        view.kind = following(numbers, read)
        view.itemsize = following(numbers, read)
        load_following(&view.offset, numbers, read)
        for axis in range(node.axes):
            load_following(view.strides + axis, numbers, read)
        view += 1
    return 0


cdef class EntryList:
    """The entries of a program.

    Args:
        entries: of each what it runs, its number, how many it covers, and its samples, all one behind the other. Sizes such as
            samples are two numbers, count and power for count N^power.
        nodes: of each its descriptor and its attributes, all one behind the other.
        views: of each node the numbers of its sizes, extents and operands; the sizes; the extents; of each operand its place, kind,
            bytes of an element, first element and strides, all one behind the other.
        criteria: (record of the loss, place of its value, that of the sum of losses and of what it is divided by as doubles) of each.
        calls: the PythonCalls.
        blocks: how a batch is cut for some rows of operations: the fields of Blocks.
        backward: the number of the first entry that only gradients need.
        of_input: the number of the first entry that only the gradient of the input needs.
        loss: the place of the value that is trained on, or None.
        criterion: the number of the loss that has yielded it, or -1.
        terms: the places of numbers whose means over an epoch are wanted.
    """

    def __init__(
        self, list entries not None, list nodes not None, list views not None, list criteria not None, list calls not None,
        list blocks not None, Py_ssize_t backward, Py_ssize_t of_input, tuple loss, Py_ssize_t criterion, list terms not None,
    ):
        cdef Sequence* s = &self.sequence
        cdef Py_ssize_t number, node_count = len(nodes) // 2
        cdef Py_ssize_t view_count = count_views(views, node_count), read = 0
        cdef Entry* entry
        cdef View* view
        if s.entries != NULL:
            raise TypeError("EntryList: expected to be made once; make another")
        self.records, self.calls = (nodes, criteria), calls
        s.entries = <Entry*>PyMem_Calloc(max(1, len(entries) // 5), sizeof(Entry))
        s.nodes = <Node*>PyMem_Calloc(max(1, node_count), sizeof(Node))
        s.criteria = <Criterion*>PyMem_Calloc(max(1, len(criteria)), sizeof(Criterion))
        self.views = <View*>PyMem_Calloc(max(1, view_count), sizeof(View))
        s.terms = <Operand*>PyMem_Calloc(max(1, len(terms)), sizeof(Operand))
        s.blocks = <Blocks*>PyMem_Calloc(max(1, len(blocks)), sizeof(Blocks))
        if (s.entries == NULL or s.nodes == NULL or s.criteria == NULL or self.views == NULL or s.terms == NULL
                or s.blocks == NULL):
            raise MemoryError()
        s.count, s.backward, s.of_input, s.criterion = len(entries) // 5, backward, of_input, criterion
        s.block_count = len(blocks)
        for number in range(s.block_count):
            load_blocks(s.blocks + number, blocks[number])
        if loss is not None:
            load_operand(&s.loss, loss)
        s.term_count = len(terms)
        for number in range(s.term_count):
            load_operand(s.terms + number, terms[number])
        for number in range(s.count):
            entry = s.entries + number
            entry.what = following(entries, &read)
            entry.number = following(entries, &read)
            entry.covers = following(entries, &read)
            load_following(&entry.samples, entries, &read)
            entry.whole = entry.what == NODE or (entry.samples.count == 1 and entry.samples.power == 1)
            if number >= backward and entry.what == PYTHON:
                s.backward_in_python = True
        view, read = self.views, 0
        for number in range(node_count):
            load_node(s.nodes + number, nodes[2 * number], nodes[2 * number + 1], view, views, &read)
            view += s.nodes[number].count
        for number, (record, where, exact) in enumerate(criteria):
            load_objective(&s.criteria[number].objective, record)
            load_operand(&s.criteria[number].y, where)
            load_operand(&s.criteria[number].exact, exact)

    def __dealloc__(self):
        PyMem_Free(self.sequence.entries)
        PyMem_Free(self.sequence.nodes)
        PyMem_Free(self.sequence.criteria)
        PyMem_Free(self.sequence.terms)
        PyMem_Free(self.sequence.blocks)
        PyMem_Free(self.views)

    def __reduce__(self):
        raise TypeError("EntryList: expected to stay in its process, for it holds addresses; trace the model again")


cdef inline Batch of_samples(const Batch* batch, const Extent* samples) noexcept nogil:
    """The batch as a layer sees it that finds another number of samples in it."""
    cdef Batch own = batch[0]
    own.N = extent(samples, batch.N)
    return own


cdef bint run_entry(const Sequence* s, const Entry* entry, const Batch* batch, real* scratch) noexcept nogil:
    """Run an entry; whether it could."""
    cdef Arrays arrays
    cdef const Node* node
    cdef Criterion* criterion
    cdef double divisor
    if entry.what == NODE:
        node = s.nodes + entry.number
        resolve(node, batch, &arrays)
        if real is float:
            return node.kernels.run_float(&arrays, scratch) == DONE
        else:
            return node.kernels.run_double(&arrays, scratch) == DONE
    elif entry.what == FORWARD:
        forward_operation(s.operations + entry.number, batch, scratch)
    elif entry.what == BACKWARD:
        backward_operation(s.operations + entry.number, batch, scratch)
    else:
        criterion = s.criteria + entry.number
        if entry.what == LOSS:
            divisor = objective_divisor(&criterion.objective, batch, scratch)
            keep_loss(criterion, objective_forward(&criterion.objective, batch, scratch), divisor, batch, scratch)
        else:
            objective_backward(&criterion.objective, batch, (<const double*>place(&criterion.exact, batch))[1], scratch)
    return True


cdef void keep_loss(const Criterion* criterion, double total, double divisor, const Batch* batch, real* _) noexcept nogil:
    # The mean over nothing, where all targets are ignored, is NaN, but its gradient is 0.
    cdef double* exact = <double*>place(&criterion.exact, batch)
    exact[0], exact[1] = total, divisor
    (<real*>place(&criterion.y, batch))[0] = <real>(total / divisor) if divisor != 0 else <real>NAN


cdef void run_in_blocks(const Sequence* s, const Entry* entry, const Batch* batch, real* scratch) noexcept nogil:
    cdef const Blocks* blocks = s.blocks + entry.number
    cdef const Operation* operations = s.operations + blocks.first
    cdef Criterion* criterion
    cdef double divisor
    if entry.what == BLOCKS_THROUGH:
        criterion = s.criteria + blocks.criterion
        divisor = objective_divisor(&criterion.objective, batch, scratch)
        keep_loss(criterion, run_through_blocks(blocks, operations, &criterion.objective, divisor, batch, scratch), divisor, batch,
                  scratch)
        return
    if entry.what != BLOCK_GRADIENTS:
        run_blocks(blocks, entry.what == BLOCKS_FORWARD, operations, batch, scratch)
    if entry.what != BLOCKS_FORWARD:
        add_gradients(blocks, operations, batch, scratch)


cdef Py_ssize_t run_sequence(
    const Sequence* s, Py_ssize_t first, Py_ssize_t last, const Batch* batch, real* scratch) noexcept nogil:
    cdef Py_ssize_t i = first - 1
    cdef Batch own
    cdef const Entry* entry
    while i + 1 < last:
        i += 1
        entry = s.entries + i
        if entry.what == FORWARD and entry.whole:
            forward_operation(s.operations + entry.number, batch, scratch)
        elif entry.what == BACKWARD and entry.whole:
            backward_operation(s.operations + entry.number, batch, scratch)
        elif entry.what == PYTHON:
            return i
        elif entry.what > PYTHON:
            run_in_blocks(s, entry, batch, scratch)
            i += entry.covers
        elif entry.whole:
            if not run_entry(s, entry, batch, scratch):
                return i
        else:
            own = of_samples(batch, &entry.samples)
            if not run_entry(s, entry, &own, scratch):
                return i
    return -1


cdef void find_scratch(const Sequence* s, Py_ssize_t N, Py_ssize_t itemsize, void* memory, Scratch* scratch) noexcept nogil:
    cdef Py_ssize_t i = -1, most = 0, samples
    cdef const Blocks* blocks
    cdef Arrays arrays
    cdef const Entry* entry
    cdef const Node* node
    while i + 1 < s.count:
        i += 1
        entry = s.entries + i
        if entry.what > PYTHON:
            i += entry.covers
            continue
        samples = extent(&entry.samples, N)
        if entry.what == NODE:
            node = s.nodes + entry.number
            if node.kernels.scratch != NULL:
                shaped(node, N, &arrays)
                most = max(most, node.kernels.scratch(&arrays, itemsize))
        elif entry.what == FORWARD or entry.what == BACKWARD:
            most = max(most, operation_scratch(s.operations + entry.number, samples, itemsize, memory))
        elif entry.what != PYTHON:
            most = max(most, objective_scratch(&s.criteria[entry.number].objective))
    scratch.of_entry = max(scratch.of_entry, most)
    for i in range(s.block_count):
        blocks = s.blocks + i
        scratch.of_block = max(scratch.of_block, block_scratch(
            blocks, s.operations + blocks.first, &s.criteria[max(blocks.criterion, <Py_ssize_t>0)].objective, N, itemsize, memory))
        scratch.blocks = max(scratch.blocks, <Py_ssize_t>at_once(blocks, N))


cdef void shaped(const Node* node, Py_ssize_t N, Arrays* arrays) noexcept nogil:
    """A node's arrays without their addresses."""
    cdef Py_ssize_t i, axis
    memset(arrays, 0, sizeof(Arrays))
    arrays.axes, arrays.count, arrays.attributes = node.axes, node.count, node.attributes
    for axis in range(node.axes):
        arrays.sizes[axis] = extent(node.sizes + axis, N)
    for i in range(node.count):
        arrays.operands[i].kind = node.views[i].kind
        for axis in range(node.axes):
            arrays.operands[i].strides[axis] = extent(node.views[i].strides + axis, N)


cdef Py_ssize_t first_not_finite_entry(
    const Sequence* s, Py_ssize_t first, const Batch* batch, real* scratch) noexcept nogil:
    cdef Py_ssize_t i = first - 1, found
    cdef const Blocks* blocks
    cdef Batch own
    cdef const Entry* entry
    while i + 1 < s.backward:
        i += 1
        entry = s.entries + i
        if entry.what > PYTHON:
            blocks = s.blocks + entry.number
            found = first_not_finite_in_blocks(blocks, s.operations + blocks.first, batch, scratch)
            if found < blocks.count:
                return i + 1 + found
            i += blocks.count
            continue
        if run_sequence(s, i, i + 1, batch, scratch) >= 0:
            return i
        own = of_samples(batch, &entry.samples)
        if not finite_entry(s, entry, batch if entry.what == NODE else &own, scratch):
            return i
    return -1


cdef bint finite_entry(const Sequence* s, const Entry* entry, const Batch* batch, real* _) noexcept nogil:
    cdef Arrays arrays
    if entry.what == NODE:
        resolve(s.nodes + entry.number, batch, &arrays)
        if arrays.operands[0].kind != FLOATING:
            return True
        return finite_along(&arrays, 0, <const real*>arrays.operands[0].at)
    if entry.what == FORWARD:
        return finite_output(s.operations + entry.number, batch, _)
    return isfinite((<const real*>place(&s.criteria[entry.number].y, batch))[0])


cdef bint finite_along(const Arrays* arrays, Py_ssize_t axis, const real* at) noexcept nogil:
    """Whether the output's elements, from an axis on, are finite."""
    cdef Py_ssize_t i
    if axis == arrays.axes:
        return isfinite(at[0])
    for i in range(arrays.sizes[axis] if arrays.operands[0].strides[axis] else min(arrays.sizes[axis], <Py_ssize_t>1)):
        if not finite_along(arrays, axis + 1, at + i * arrays.operands[0].strides[axis]):
            return False
    return True
