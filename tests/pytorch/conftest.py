"""What the comparisons with PyTorch share: one thread of its own, and what agreement to rounding means."""

import numpy as np
import pytest


@pytest.fixture(scope="module", autouse=True)
def _one_torch_thread():
    """These tensors are small: a pool of threads only gets in the way of other processes."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def agree(dtype):
    """A check that two results agree to 32 roundings each, or `cancelling` roundings of the largest where terms cancel."""
    eps = float(np.finfo(dtype).eps)

    def check(ours, theirs, cancelling=8):
        theirs = theirs.detach().numpy() if hasattr(theirs, "detach") else np.asarray(theirs)
        if isinstance(ours, np.ndarray):
            assert ours.dtype == theirs.dtype == dtype
        largest = np.abs(theirs[np.isfinite(theirs)]).max(initial=0)
        np.testing.assert_allclose(
            ours, theirs, rtol=32 * eps, atol=cancelling * eps * largest, strict=isinstance(ours, np.ndarray)
        )

    return check
