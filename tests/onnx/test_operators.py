"""onnx's own tests of the operators that are read: each passes, or is refused for the reason that is listed here."""

import importlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed (the onnx extra)")

import onnx
import onnx.version_converter

import fastdl.onnx
from fastdl.onnx.table import OPERATORS, fill

fill()
NODE = "onnx.backend.test.case.node"
# Operators whose other inputs are weights, shapes, axes and the like: constants, as fastdl has them.
FIXED = {
    *("Gemm", "Conv", "BatchNormalization", "LayerNormalization"),
    *("Reshape", "Gather", "ReduceMean", "Dropout", "Squeeze", "Unsqueeze", "Slice", "Pow", "Clip"),
}

# What is read of constants and sizes alone; test_onnx_folding.py has their tests.
OWN_TESTS = {"Cast", "Shape", "Constant"}


def node_tests():
    for operator in OPERATORS.keys() - OWN_TESTS:
        name = operator.lower()
        if operator == "BatchNormalization":  # whose file's name has changed
            name = "batchnorm" if find_spec(f"{NODE}.batchnorm") else "batch_normalization"
        importlib.import_module(f"{NODE}.{name}")
    found = importlib.import_module(NODE)._NodeTestCases
    return {case.name: case for case in found if {node.op_type for node in case.model.graph.node} <= OPERATORS.keys()}


def with_constants(case):
    """The test's model with what fastdl has as constants in the file, and the inputs that are left."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    inputs = dict(zip([value.name for value in model.graph.input], case.data_sets[0][0], strict=True))
    node = model.graph.node[0]
    if len(model.graph.node) == 1 and node.op_type in FIXED | {"Where"}:
        fixed = node.input[:1] if node.op_type == "Where" else node.input[1:]
        for name in filter(None, fixed):
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(inputs.pop(name)), name))
        kept = [value for value in model.graph.input if value.name in inputs]
        del model.graph.input[:]
        model.graph.input.extend(kept)
    return model, list(inputs.values())


TESTS = node_tests()
INTEGERS = "expected inputs of float32 or float64, got x of u?int"
EXPONENT = "expected one number in the file as the exponent"
OUTPUTS = "at least one input and one output, got 1 and "
REFUSED = {
    **{
        f"test_{operator}_{kind}": INTEGERS
        for operator in ("add", "sub", "mul", "div", "greater")
        for kind in ("int8", "int16", "uint8", "uint16", "uint32", "uint64")
    },
    **dict.fromkeys(("test_div_int32_trunc", "test_maxpool_2d_uint8", "test_where_long_example"), INTEGERS),
    # Windows of three axes, and windows with gaps whose mean counts, are none of fastdl's layers.
    **dict.fromkeys(
        (
            *("test_averagepool_3d_default", "test_averagepool_3d_dilations_small"),
            *(
                f"test_averagepool_3d_dilations_large_count_include_pad_is_{counted}_ceil_mode_is_{ceil}"
                for counted in (0, 1)
                for ceil in (False, True)
            ),
            *("test_maxpool_3d_default", "test_maxpool_3d_dilations"),
            *("test_maxpool_3d_dilations_use_ref_impl", "test_maxpool_3d_dilations_use_ref_impl_large"),
        ),
        "expected windows of one or two axes",
    ),
    "test_averagepool_2d_dilations": "expected dilations of 1",
    # Outputs beside the first one: means, masks, places of maxima, and statistics that move.
    **{name: OUTPUTS for name in TESTS if name.startswith("test_layer_norm") and "expanded" not in name},
    **dict.fromkeys(
        (
            *("test_maxpool_with_argmax_2d_precomputed_pads", "test_maxpool_with_argmax_2d_precomputed_strides"),
            *("test_dropout_default_mask", "test_dropout_default_mask_ratio"),
            *(
                "test_training_dropout_default_mask",
                "test_training_dropout_mask",
                "test_training_dropout_zero_ratio_mask",
            ),
            *("test_batchnorm_example_training_mode", "test_batchnorm_epsilon_training_mode"),
        ),
        OUTPUTS,
    ),
    # Exponents that are several numbers, or integers of few bits, and values of other dtypes.
    **dict.fromkeys(("test_pow", "test_pow_bcast_array", "test_pow_example"), EXPONENT),
    **dict.fromkeys(("test_pow_types_float32_int64",), EXPONENT),
    **{
        f"test_pow_types_float32_{kind}": f"expected tensors of float32, float64, int64 or bool, got y of {kind}"
        for kind in ("int32", "uint32", "uint64")
    },
    **{
        f"test_pow_types_{kinds}": "float32"
        for kinds in ("int32_float32", "int32_int32", "int64_float32", "int64_int64")
    },
    **{name: "float32" for name in TESTS if name.startswith("test_clip_default_int8") or "float16" in name},
    # A file that says that it is being trained, or is older than what fastdl reads.
    **dict.fromkeys(
        ("test_training_dropout", "test_training_dropout_default", "test_training_dropout_zero_ratio"),
        "expected training_mode to be False",
    ),
    **dict.fromkeys(
        ("test_dropout_default_old", "test_dropout_random_old"), "expected a model of opset 13 to .*, got 11"
    ),
    # No arrays.
    **dict.fromkeys(("test_identity_opt", "test_identity_sequence"), "float32 or float64, got .* of undefined"),
}
# What is right where only the first output is asked for.
FIRST_OUTPUTS = [name for name, reason in REFUSED.items() if reason is OUTPUTS and "training" not in name]


@pytest.mark.parametrize("name", sorted(TESTS.keys() - REFUSED.keys()))
def test_an_operator_does_what_onnx_says(name):
    case = TESTS[name]
    model, inputs = with_constants(case)
    output = fastdl.onnx.load(model).eval()(*inputs)
    (want,) = case.data_sets[0][1]
    assert output.dtype == want.dtype
    np.testing.assert_allclose(output, want, rtol=case.rtol, atol=case.atol)


@pytest.mark.parametrize("name", sorted(REFUSED.keys() & TESTS.keys()))  # older onnx has fewer tests
def test_what_is_refused_is_refused_in_a_sentence(name):
    model, _ = with_constants(TESTS[name])
    with pytest.raises(ValueError, match=REFUSED[name]):
        fastdl.onnx.load(model)


@pytest.mark.parametrize("name", FIRST_OUTPUTS)
def test_the_first_output_is_right_where_there_are_others(name):
    case = TESTS[name]
    model, inputs = with_constants(case)
    del model.graph.output[1:], model.graph.node[0].output[1:]
    np.testing.assert_allclose(
        fastdl.onnx.load(model).eval()(*inputs), case.data_sets[0][1][0], rtol=case.rtol, atol=case.atol
    )


def test_every_operator_has_a_test_that_passes():
    names = (TESTS.keys() - REFUSED.keys()) | set(FIRST_OUTPUTS)
    passing = {node.op_type for name in names for node in TESTS[name].model.graph.node}
    assert passing | OWN_TESTS == OPERATORS.keys()


FROM_TORCH = Path(onnx.__file__).parent / "backend" / "test" / "data" / "pytorch-converted"
THREE_AXES = "one or two axes|two to four axes"
NOT_FROM_TORCH = {
    **dict.fromkeys(("AvgPool3d", "Conv3d", "MaxPool3d", "BatchNorm3d"), THREE_AXES),
    **dict.fromkeys(("ConstantPad2d", "ReflectionPad2d", "ReplicationPad2d", "ZeroPad2d"), "subset, got Pad"),
    **{"ConvTranspose2d": "subset, got ConvTranspose", "GLU": "subset, got Split", "PReLU": "subset, got PRelu"},
    **{"Embedding": "got 0 of int64"},
}


@pytest.mark.skipif(not FROM_TORCH.exists(), reason="this onnx does not ship PyTorch's models")
@pytest.mark.parametrize("name", sorted(path.name.removeprefix("test_") for path in FROM_TORCH.glob("test_*")))
def test_a_model_of_pytorchs_computes_what_it_did_there(name):
    folder = FROM_TORCH / f"test_{name}"
    model = onnx.version_converter.convert_version(onnx.load(folder / "model.onnx"), 17)
    reason = NOT_FROM_TORCH.get(name, NOT_FROM_TORCH.get(name.split("_")[0]))
    if reason is not None:
        with pytest.raises(ValueError, match=reason):
            fastdl.onnx.load(model)
        return
    x, want = (
        onnx.numpy_helper.to_array(onnx.TensorProto.FromString((folder / "test_data_set_0" / file).read_bytes()))
        for file in ("input_0.pb", "output_0.pb")
    )
    np.testing.assert_allclose(fastdl.onnx.load(model).eval()(x), want, rtol=1e-3, atol=1e-6)
