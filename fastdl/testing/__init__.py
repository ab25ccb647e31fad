"""Testing: the table of cases, and the checks that compare a layer with for-loops and with central differences."""

from fastdl.testing.cases import CASES as CASES
from fastdl.testing.cases import LAYER_CASES as LAYER_CASES
from fastdl.testing.cases import LOSS_CASES as LOSS_CASES
from fastdl.testing.cases import OPTIMIZER_CASES as OPTIMIZER_CASES
from fastdl.testing.cases import SIZES as SIZES
from fastdl.testing.cases import Case as Case
from fastdl.testing.cases import assert_close as assert_close
from fastdl.testing.cases import make_input as make_input
from fastdl.testing.cases import make_target as make_target
from fastdl.testing.gradcheck import gradcheck as gradcheck
from fastdl.testing.naive import naive as naive
from fastdl.testing.naive import naive_loss as naive_loss
from fastdl.testing.naive import naive_step as naive_step
from fastdl.testing.naive import on_the_reference as on_the_reference
