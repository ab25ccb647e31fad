"""scikit-learn estimators: multilayer perceptrons under scikit-learn's names, and any fastdl model as an estimator."""

from fastdl.environment import missing

try:
    import sklearn as sklearn
except ImportError:
    raise missing("fastdl.estimators", "sklearn") from None

from fastdl.estimators.mlp import MLPClassifier as MLPClassifier
from fastdl.estimators.mlp import MLPRegressor as MLPRegressor
from fastdl.estimators.net import NetClassifier as NetClassifier
from fastdl.estimators.net import NetRegressor as NetRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "NetClassifier", "NetRegressor"]
