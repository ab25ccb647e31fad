"""Training: the Trainer, what runs an epoch, and the state of a fit."""

from fastdl.training.history import History as History
from fastdl.training.inference import predict as predict
from fastdl.training.trainer import Trainer as Trainer
