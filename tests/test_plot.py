"""Pictures: what is drawn."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastdl import nn
from fastdl.data import Standardize
from fastdl.training.history import History

pytest.importorskip("matplotlib", reason="matplotlib is not installed (the plot extra)")

from fastdl import plot
from fastdl.plot import confusion_matrix, decision_regions, filters, loss_curves, metric_curves

X = np.array([[0.0, 0.0], [2.0, 1.0], [0.0, 1.0], [2.0, 0.0]])
Y = np.array([0, 1, 0, 1])


def make_history(*, val=True, losses=(0.5, 0.2, 0.4)):
    history = History(("loss", "val_loss") if val else ("loss",))
    history.records += [{"loss": loss, "val_loss": loss + 0.1} for loss in losses]
    return history


def left_right(at=1.0, classes=2):
    """A model that chooses class 1 to the right of x_0 = at."""
    model = nn.Linear(2, classes)
    model.weight.data = np.array([[-1, 0], [1, 0], [0, 0]], dtype=np.float32)[:classes]
    model.bias.data = np.array([at, -at, -100], dtype=np.float32)[:classes]
    return model


def tint_at(ax, x, y):
    image = ax.images[0]
    low_x, high_x, low_y, high_y = image.get_extent()
    pixels = np.asarray(image.get_array())
    row = int((y - low_y) / (high_y - low_y) * len(pixels))
    column = int((x - low_x) / (high_x - low_x) * pixels.shape[1])
    return tuple(pixels[row, column].round(6))


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def same_colour(one, other):
    from matplotlib.colors import to_rgba

    return np.allclose(to_rgba(one), to_rgba(other))


def test_loss_curves_draw_both_losses_over_epochs_from_1():
    ax = loss_curves(make_history())
    training, validation = ax.lines
    assert training.get_xdata().tolist() == validation.get_xdata().tolist() == [1, 2, 3]
    assert training.get_ydata().tolist() == [0.5, 0.2, 0.4]
    assert validation.get_ydata() == pytest.approx([0.6, 0.3, 0.5])
    assert labels(ax) == ["training", "validation"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")
    assert not same_colour(training.get_color(), validation.get_color())
    assert training.get_marker() == ""


def test_curves_have_two_spines_and_a_grid_behind_them():
    ax = loss_curves(make_history())
    assert [name for name, spine in ax.spines.items() if spine.get_visible()] == ["left", "bottom"]
    assert all(line.get_visible() and line.get_alpha() == 0.3 for line in [*ax.get_xgridlines(), *ax.get_ygridlines()])


def test_without_validation_there_is_one_curve():
    assert len(loss_curves(make_history(val=False)).lines) == 1


def test_a_single_epoch_is_a_dot():
    assert [line.get_marker() for line in loss_curves(make_history(losses=[0.5])).lines] == ["o", "o"]


@pytest.mark.parametrize(
    ("losses", "scale"),
    [
        ((0.5, 0.4), "linear"),
        ((0.5, 0.0625), "linear"),
        ((0.5, 0.05), "log"),
        ((0.5, 0.0), "linear"),
        ((0.5, -9.0), "linear"),
    ],
)
def test_the_loss_axis_is_logarithmic_over_a_factor_of_ten(losses, scale):
    assert loss_curves(make_history(val=False, losses=losses)).get_yscale() == scale


def test_validation_losses_count_for_the_scale_too():
    history = History(("loss", "val_loss"))
    history.records += [{"loss": 0.5, "val_loss": 0.5}, {"loss": 0.4, "val_loss": 0.001}]
    assert loss_curves(history).get_yscale() == "log"


def make_metrics(*names):
    history = History(("loss", *names, "val_loss", *(f"val_{name}" for name in names[:1]), "lr", "seconds"))
    history.records += [dict.fromkeys(history.names, 0.5) | dict.fromkeys(names, 0.1 * i) for i in range(3)]
    return history


def test_one_metric_is_drawn_as_the_loss_is():
    ax = metric_curves(make_metrics("accuracy"))
    training, validation = ax.lines
    assert training.get_xdata().tolist() == [1, 2, 3]
    assert training.get_ydata() == pytest.approx([0, 0.1, 0.2])
    assert validation.get_ydata() == pytest.approx([0.5] * 3)
    assert labels(ax) == ["training", "validation"]
    assert ax.get_ylabel() == "accuracy"
    assert [line.get_color() for line in ax.lines] == [line.get_color() for line in loss_curves(make_history()).lines]


def test_several_metrics_have_a_colour_each_and_validation_is_dashed():
    ax = metric_curves(make_metrics("accuracy", "error"))
    assert labels(ax) == ["accuracy, training", "error, training", "accuracy, validation"]
    assert [line.get_linestyle() for line in ax.lines] == ["-", "-", "--"]
    first, second, third = (line.get_color() for line in ax.lines)
    assert first == third != second
    assert ax.get_ylabel() == "metric"


def test_more_metrics_than_colours_begin_again():
    colours = [line.get_color() for line in metric_curves(make_metrics(*"abcdefghi")).lines][:9]
    assert colours[7:] == colours[:2]
    assert len(set(colours)) == 7


def test_metrics_are_drawn_by_name():
    history = make_metrics("accuracy", "error")
    assert len(metric_curves(history, names=["error"]).lines) == 1
    assert metric_curves(history, names="error").get_ylabel() == "error"


def tiles_of(ax):
    return np.asarray(ax.images[0].get_array())


def test_the_filters_of_a_convolution_are_tiles_with_lines_between_them():
    layer = nn.Conv2d(1, 5, (12, 13), rng=0)
    ax = filters(nn.Sequential(nn.Identity(), layer, nn.ReLU()))
    tiles, W = np.ma.getdata(tiles_of(ax)), layer.weight.data
    assert tiles.shape == (3 * 13 - 1, 2 * 14 - 1)
    assert (tiles[:12, :13] == W[0, 0]).all()
    assert (tiles[:12, 14:] == W[1, 0]).all()
    assert (tiles[26:, :13] == W[4, 0]).all()
    assert np.isnan(tiles[12]).all()
    assert np.isnan(tiles[:, 13]).all()
    assert np.isnan(tiles[26:, 14:]).all()
    low, high = ax.images[0].get_clim()
    assert -low == high == np.abs(W).max()
    assert ax.get_title() == "5 filters of Conv2d(1, 5, (12, 13))"
    assert not ax.axison


def test_weights_above_0_are_red_and_a_bar_beside_them_shows_how_large_they_are():
    ax = filters(nn.Linear(3, 2, rng=0))
    low, high = (ax.images[0].cmap(share) for share in (0.0, 1.0))
    assert low[2] > low[0]
    assert high[0] > high[2]
    _, bar = ax.figure.axes
    assert bar.get_ylim() == ax.images[0].get_clim()


def test_the_first_layer_with_weights_is_drawn():
    assert (
        filters(nn.Sequential(nn.ReLU(), nn.Linear(3, 4), nn.Linear(4, 2))).get_title() == "4 filters of Linear(3, 4)"
    )


def test_wide_filters_stand_above_each_other_and_the_picture_is_square():
    assert tiles_of(filters(nn.Conv2d(1, 8, (12, 25), rng=0))).shape == (51, 51)
    assert tiles_of(filters(nn.Conv2d(1, 8, (25, 12), rng=0))).shape == (51, 51)


def test_thousands_of_filters_are_counted_with_a_comma():
    assert filters(nn.Linear(2, 1000, rng=0)).get_title() == "1,000 filters of Linear(2, 1000)"
    assert filters(nn.Linear(2, 1500, rng=0)).get_title() == "1,024 of 1,500 filters of Linear(2, 1500)"


def test_a_title_has_room_for_a_layer_with_options():
    assert filters(nn.Conv2d(1, 2, 12, stride=2, rng=0)).get_title() == "2 filters of Conv2d(1, 2, 12, stride=2)"
    layer = nn.Conv2d(1, 2, (12, 13), stride=(2, 1), padding=(1, 2), rng=0)
    assert filters(layer).get_title() == f"2 filters of {layer.spec()[:47]}…"


def test_small_filters_are_enlarged():
    layer = nn.Conv2d(1, 1, 3, rng=0)
    assert (tiles_of(filters(layer)) == np.kron(layer.weight.data[0, 0], np.ones((4, 4)))).all()
    long = nn.Conv2d(1, 1, (2, 6), rng=0)
    assert (tiles_of(filters(long)) == np.kron(long.weight.data[0, 0], np.ones((2, 2)))).all()


def test_filters_of_three_channels_have_colours_and_others_stand_beside_each_other():
    layer = nn.Conv2d(3, 1, 12, rng=0)
    picture, W = tiles_of(filters(layer)), layer.weight.data[0]
    assert picture.shape == (12, 12, 3)
    assert 0 <= picture.min() < picture.max() <= 1
    np.testing.assert_allclose(picture, 0.5 + W.transpose(1, 2, 0) / (2 * np.abs(W).max()), rtol=1e-6)
    layer = nn.Conv2d(2, 1, 12, rng=0)
    picture = tiles_of(filters(layer))
    assert (picture[:, :12] == layer.weight.data[0, 0]).all()
    assert (picture[:, 13:] == layer.weight.data[0, 1]).all()


def test_a_conv1ds_filters_have_a_row_for_each_channel():
    layer = nn.Conv1d(3, 1, 12, rng=0)
    assert (tiles_of(filters(layer)) == layer.weight.data[0]).all()


def test_a_linears_rows_are_images_of_the_inputs_shape():
    layer = nn.Linear(144, 4, rng=0)
    picture = tiles_of(filters(layer, shape=(12, 12)))
    assert picture.shape == (25, 25)
    assert (picture[:12, 13:] == layer.weight.data[1].reshape(12, 12)).all()
    assert tiles_of(filters(nn.Linear(432, 1, rng=0), shape=(3, 12, 12))).shape == (12, 12, 3)
    assert (tiles_of(filters(layer)) == layer.weight.data).all()


def test_filters_of_zeros_and_too_many_of_them_are_drawn(monkeypatch, tmp_path):
    layer = nn.Linear(4, 30, rng=0)
    layer.weight.data = np.zeros((30, 4))
    filters(layer, shape=(2, 2)).figure.savefig(tmp_path / "zeros.png")
    monkeypatch.setattr(plot, "MOST_FILTERS", 10)
    ax = filters(layer)
    assert tiles_of(ax).shape == (10, 4)
    assert ax.get_title() == "10 of 30 filters of Linear(4, 30)"


def test_decision_regions_show_the_chosen_class_everywhere():
    ax = decision_regions(left_right(), X, Y)
    assert tint_at(ax, 0.1, 0.1) == tint_at(ax, 0.9, 0.9) != tint_at(ax, 1.1, 0.1) == tint_at(ax, 1.9, 0.9)
    boundary = ax.collections[0].get_paths()[0].vertices
    assert boundary[:, 0] == pytest.approx(1, abs=1e-4)


def test_decision_regions_reach_a_twentieth_beyond_the_points_and_stand_upright():
    model = nn.Linear(2, 2)
    model.weight.data, model.bias.data = np.array([[0.0, -1.0], [0.0, 1.0]]), np.array([0.75, -0.75])
    ax = decision_regions(model, X, (X[:, 1] > 0.75).astype(int))
    assert ax.images[0].get_extent() == pytest.approx((-0.1, 2.1, -0.05, 1.05))
    assert ax.images[0].origin == "lower"
    assert tint_at(ax, 0.1, 0.1) == tint_at(ax, 1.9, 0.7) != tint_at(ax, 0.1, 0.8)
    assert ax.collections[0].get_paths()[0].vertices[:, 1] == pytest.approx(0.75, abs=1e-4)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("$x_0$", "$x_1$")


def test_each_class_that_is_chosen_somewhere_has_a_boundary_behind_the_points():
    from matplotlib.contour import ContourSet

    thirds = left_right(classes=3)
    for chosen, bias in ((2, -100.0), (3, 0.5)):
        thirds.bias.data = np.array([1.0, -1.0, bias], np.float32)
        ax = decision_regions(thirds, X, Y)
        boundaries = [each for each in ax.collections if isinstance(each, ContourSet)]
        points = [each for each in ax.collections if not isinstance(each, ContourSet)]
        assert len(boundaries) == chosen
        assert min(each.get_zorder() for each in points) > max(each.get_zorder() for each in boundaries)


def test_more_classes_than_colours_begin_again():
    ax = decision_regions(left_right(), X, [0, 7, 8, 7])
    zero, seven, eight = (ax.collections[i].get_facecolor()[0] for i in (1, 2, 3))
    assert same_colour(zero, seven)
    assert not same_colour(zero, eight)


def test_a_line_of_points_has_room_on_both_sides():
    ax = decision_regions(left_right(), [[0.0, 3.0], [2.0, 3.0]], [0, 1])
    assert ax.images[0].get_extent() == pytest.approx((-0.1, 2.1, 2.0, 4.0))


@pytest.mark.parametrize(("width", "aspect"), [(2.0, 1.0), (4.9, 1.0), (5.1, "auto"), (0.19, "auto"), (0.21, 1.0)])
def test_axes_of_about_one_length_have_one_scale(width, aspect):
    points = np.array([[0.0, 0.0], [width, 1.0]])
    assert decision_regions(left_right(), points, [0, 1]).get_aspect() == aspect


def test_points_and_regions_of_a_class_have_its_colour_and_a_legend_beside_them():
    ax = decision_regions(left_right(), X, [0, 1, 0, 0])
    left, right, wrong = ax.collections[1:]
    assert not same_colour(left.get_facecolor()[0], right.get_facecolor()[0])
    for points, at in ((left, 0.1), (right, 1.9)):
        tint = 1 - 0.3 * (1 - points.get_facecolor()[0][:3])
        assert tint_at(ax, at, 0.5) == pytest.approx(tint, abs=1e-5)
    assert same_colour(left.get_edgecolor()[0], "white")
    assert same_colour(wrong.get_edgecolor()[0], "black")
    assert len(wrong.get_facecolor()) == 0
    ax.figure.draw_without_rendering()
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1


def test_points_are_drawn_by_their_class_and_wrong_ones_are_ringed():
    ax = decision_regions(left_right(), X, [0, 1, 0, 0], classes=["left", "right"])
    assert labels(ax) == ["left", "right", "wrong"]
    left, right, wrong = ax.collections[1:]
    assert left.get_offsets().tolist() == X[[0, 2, 3]].tolist()
    assert right.get_offsets().tolist() == X[[1]].tolist()
    assert wrong.get_offsets().tolist() == X[[3]].tolist()
    assert labels(decision_regions(left_right(), X, Y)) == ["class 0", "class 1"]


def test_scaling_stands_before_the_model():
    scaling = Standardize().fit(X)
    ax = decision_regions(left_right(at=0.0), X, Y, scaling=scaling)
    assert tint_at(ax, 0.9, 0.5) != tint_at(ax, 1.1, 0.5)
    assert labels(ax) == ["class 0", "class 1"]


def test_a_model_without_scaling_sees_the_points_as_they_are_and_with_it_none_is_wrong():
    far = X + 100
    ax = decision_regions(left_right(at=0.0), far, Y, scaling=Standardize().fit(far))
    assert labels(ax) == ["class 0", "class 1"]
    assert labels(decision_regions(left_right(at=0.0), far, Y))[-1] == "wrong"


def test_a_threshold_counts_for_regions_boundaries_points_and_targets():
    column = nn.Linear(2, 1)
    column.weight.data, column.bias.data = np.array([[1.0, 0.0]]), np.zeros(1)
    ax = decision_regions(column, X, 2 * Y[:, None].astype(float) - 1.0, threshold=1.5)
    assert labels(ax) == ["class 0", "wrong"]  # -1 and 1 are both below 1.5
    assert tint_at(ax, 1.4, 0.5) != tint_at(ax, 1.6, 0.5)
    assert ax.collections[0].get_paths()[0].vertices[:, 0] == pytest.approx(1.5, abs=1e-4)
    near = np.array([[1.0, 0.0], [2.0, 1.0]])
    assert labels(decision_regions(column, near, [0, 1], threshold=1.5)) == ["class 0", "class 1"]


def test_one_hot_targets_three_classes_and_single_columns_are_drawn():
    assert labels(decision_regions(left_right(), X, np.eye(2)[Y])) == ["class 0", "class 1"]
    three = decision_regions(left_right(classes=3), X, [0, 1, 0, 2])
    assert labels(three) == ["class 0", "class 1", "class 2", "wrong"]
    column = nn.Sequential(left_right(), nn.Linear(2, 1))
    column[1].weight.data, column[1].bias.data = np.array([[-1.0, 1.0]]), np.zeros(1)
    ax = decision_regions(column, X, Y, threshold=0)
    assert tint_at(ax, 0.9, 0.5) != tint_at(ax, 1.1, 0.5)
    assert labels(ax) == ["class 0", "class 1"]


SCORES = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])


@pytest.fixture(params=[True, False], ids=["with scikit-learn", "without scikit-learn"])
def scikit_learn(request, monkeypatch):
    """scikit-learn's display where it is installed, and the picture without it."""
    if request.param:
        pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")
    else:
        monkeypatch.setitem(sys.modules, "sklearn.metrics", None)


@pytest.mark.usefixtures("scikit_learn")
def test_a_confusion_matrix_shows_counts_shares_and_names():
    ax = confusion_matrix(SCORES, [1, 0, 1, 1], classes=["no", "yes"])
    assert [text.get_text() for text in ax.texts] == ["1", "0", "1", "2"]
    assert [text.get_position() for text in ax.texts] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert np.asarray(ax.images[0].get_array()) == pytest.approx(np.array([[1, 0], [1 / 3, 2 / 3]]))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["no", "yes"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["no", "yes"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "class")
    assert [text.get_color() for text in ax.texts] == ["white", "lightgrey", "black", "white"]
    assert ax.images[0].get_clim() == (0, 1)
    assert ax.images[0].cmap.name == "Blues"


@pytest.mark.usefixtures("scikit_learn")
def test_shades_are_shares_of_1_even_where_no_class_is_right_more_often():
    ax = confusion_matrix(np.eye(3)[[0, 1, 0, 1]], [0, 0, 1, 1])
    assert np.asarray(ax.images[0].get_array()).max() == 0.5
    assert ax.images[0].get_clim() == (0, 1)


def test_a_confusion_matrix_of_single_columns_counts_by_the_threshold():
    ax = confusion_matrix([[0.2], [0.6], [0.9]], [0, 0, 1], threshold=0.8)
    assert [text.get_text() for text in ax.texts] == ["2", "0", "0", "1"]


@pytest.mark.parametrize(("classes", "angle"), [(["no", "yes"], 0), (["a" * 20] * 2, 0), (["a" * 21] * 2, 90)])
def test_long_names_stand_upright(classes, angle):
    ax = confusion_matrix(SCORES, [1, 0, 1, 1], classes=classes)
    assert [label.get_rotation() for label in ax.get_xticklabels()] == [angle, angle]
    assert [label.get_rotation() for label in ax.get_yticklabels()] == [0, 0]


@pytest.mark.parametrize("classes", [20, 21])
def test_twenty_classes_have_their_counts(classes):
    texts = confusion_matrix(np.eye(classes), np.arange(classes)).texts
    assert len(texts) == (400 if classes == 20 else 0)
    assert {text.get_fontsize() for text in texts} == ({4.0} if texts else set())


@pytest.mark.usefixtures("scikit_learn")
def test_a_confusion_matrix_without_names_is_numbered_and_a_class_without_samples_is_empty():
    ax = confusion_matrix(np.eye(3)[[0, 1, 1]], [0, 1, 0])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "1", "2"]
    assert [text.get_text() for text in ax.texts] == list("110010000")


def test_scikit_learns_display_draws_the_confusion_matrix_where_it_is_installed(monkeypatch):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed (the sklearn extra)")
    drawn = []
    plotted = metrics.ConfusionMatrixDisplay.plot
    monkeypatch.setattr(metrics.ConfusionMatrixDisplay, "plot", lambda self, **o: drawn.append(plotted(self, **o)))
    ax = confusion_matrix(SCORES, [1, 0, 1, 1])
    assert drawn[0].ax_ is ax


@pytest.mark.usefixtures("scikit_learn")
def test_a_large_confusion_matrix_has_no_room_for_counts(tmp_path):
    ax = confusion_matrix(np.eye(50), np.arange(50))
    assert len(ax.texts) == 0
    ax.figure.savefig(tmp_path / "large.png")


def test_names_are_drawn_as_they_are(tmp_path):
    ax = confusion_matrix(SCORES, [1, 0, 1, 1], classes=["$\\frac", "a name of more than twenty-four letters"])
    assert [len(label.get_text()) for label in ax.get_yticklabels()] == [7, 24]
    ax.figure.savefig(tmp_path / "names.png")


def test_pictures_go_on_the_axes_that_are_given():
    from matplotlib.figure import Figure

    left, middle, right, *others = Figure(layout="constrained").subplots(1, 5)
    assert metric_curves(make_metrics("accuracy"), others[0]) is others[0]
    assert filters(nn.Linear(2, 3), others[1]) is others[1]
    assert loss_curves(make_history(), left) is left
    assert confusion_matrix(SCORES, [1, 0, 1, 1], middle) is middle
    assert decision_regions(left_right(), X, Y, right) is right


def test_pictures_are_written_without_a_screen_and_without_choosing_a_backend(tmp_path):
    code = f"""
import sys
from fastdl.training.history import History
from fastdl.plot import loss_curves
history = History(("loss",))
history.records.append({{"loss": 1.0}})
loss_curves(history).figure.savefig({str(tmp_path / "loss.png")!r})
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_matplotlib_is_named_with_its_extra(monkeypatch):
    for name in ("matplotlib.axes", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    for draw in (
        lambda: loss_curves(make_history()),
        lambda: decision_regions(left_right(), X, Y),
        lambda: confusion_matrix(SCORES, [1, 0, 1, 1]),
        lambda: metric_curves(make_metrics("accuracy")),
        lambda: filters(nn.Linear(2, 3)),
    ):
        with pytest.raises(ImportError, match=r'pip install "\.\[plot\]"'):
            draw()


@pytest.mark.parametrize(
    ("draw", "kind", "message"),
    [
        (lambda: loss_curves([1.0]), TypeError, "expected a History, got list"),
        (lambda: loss_curves(History(("loss",))), ValueError, "at least one epoch"),
        (lambda: loss_curves(make_history(), ax="left"), TypeError, "expected matplotlib Axes"),
        (lambda: metric_curves([1.0]), TypeError, "metric_curves: expected a History, got list"),
        (lambda: metric_curves(History(("loss", "accuracy"))), ValueError, "metric_curves: .* at least one epoch"),
        (lambda: metric_curves(make_history()), ValueError, "a history of a Trainer with metrics, got none"),
        (lambda: metric_curves(make_metrics("a", "b"), names=["c"]), ValueError, "names among a, b, got 'c'"),
        (lambda: metric_curves(make_metrics("a", "b"), names=[]), ValueError, "names among a, b, got none"),
        (lambda: filters(print), TypeError, "fastdl Module"),
        (lambda: filters(nn.ReLU()), ValueError, "a model with a Linear, Conv1d or Conv2d, got ReLU"),
        (lambda: filters(nn.Linear(2, 3), shape=(2, 2)), ValueError, r"of an input of Linear\(2, 3\), got \(2, 2\)"),
        (lambda: filters(nn.Conv2d(1, 1, 2), shape=(2, 2)), ValueError, r"input of Conv2d\(1, 1, 2\), got \(2, 2\)"),
        (lambda: filters(nn.Linear(2, 3), "left"), TypeError, "filters: expected matplotlib Axes"),
        (lambda: decision_regions(print, X, Y), TypeError, "fastdl Module for model"),
        (lambda: decision_regions(left_right(), X[:, :1], Y), ValueError, r"x of shape \(n, 2\), got \(4, 1\)"),
        (lambda: decision_regions(left_right(), X, Y[:3]), ValueError, "as many rows"),
        (lambda: decision_regions(left_right(), X, Y - 1), ValueError, "class indices of at least 0, got -1"),
        (lambda: decision_regions(left_right(), X, Y, scaling=(0, 1)), TypeError, "Standardize or None for scaling"),
        (lambda: decision_regions(nn.Linear(3, 2), X, Y), ValueError, r"Linear\(3, 2\)"),
        (lambda: confusion_matrix(SCORES, [1, 0, 1]), ValueError, r"confusion_matrix: expected target of shape \(4,\)"),
        (lambda: confusion_matrix(SCORES, [1, 0, 1, 2]), ValueError, "class indices from 0 to 1, got 2"),
        (lambda: confusion_matrix(SCORES, [1, 0, 1, 0], classes="abc"), ValueError, "expected 2 names .* got 3"),
        (lambda: confusion_matrix(SCORES, [1, 0, 1, 0], "left"), TypeError, "expected matplotlib Axes"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, kind, message):
    with pytest.raises(kind, match=message):
        draw()


def test_the_examples_on_the_page_run_as_they_are(tmp_path, monkeypatch):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parent.parent / "docs" / "plot.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 6
    exec("\n".join(blocks), {})
    pictures = {path.stem for path in tmp_path.iterdir()}
    assert pictures == {"loss", "metrics", "regions", "confusion", "filters", "both"}


def test_a_notebook_shows_a_figure_of_its_own_and_no_other(monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    monkeypatch.setattr(plot, "in_notebook", lambda: True)
    before = pyplot.get_fignums()
    ax = loss_curves(make_history())
    try:
        assert len(pyplot.get_fignums()) == len(before) + 1
        loss_curves(make_history(), ax=ax)
        assert pyplot.gcf() is ax.figure
        assert len(pyplot.get_fignums()) == len(before) + 1
    finally:
        pyplot.close(ax.figure)
