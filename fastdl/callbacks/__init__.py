"""Callbacks: what happens beside training, between its epochs and steps."""

from fastdl.callbacks.callback import Callback as Callback
from fastdl.callbacks.checkpoint import ModelCheckpoint as ModelCheckpoint
from fastdl.callbacks.csv_log import CSVLog as CSVLog
from fastdl.callbacks.early_stopping import EarlyStopping as EarlyStopping
from fastdl.callbacks.learning_rate import LearningRateLog as LearningRateLog
from fastdl.callbacks.listed import listed as listed
from fastdl.callbacks.progress import ProgressBar as ProgressBar
from fastdl.callbacks.tensorboard import TensorBoard as TensorBoard
