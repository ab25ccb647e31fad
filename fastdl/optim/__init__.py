"""Optimizers, learning-rate schedules and gradient clipping, under torch.optim's names."""

from fastdl.optim.adam import Adam as Adam
from fastdl.optim.adam import AdamW as AdamW
from fastdl.optim.clip import clip_grad_norm as clip_grad_norm
from fastdl.optim.clip import clip_grad_value as clip_grad_value
from fastdl.optim.optimizer import Optimizer as Optimizer
from fastdl.optim.rmsprop import RMSprop as RMSprop
from fastdl.optim.schedule import CosineAnnealingLR as CosineAnnealingLR
from fastdl.optim.schedule import ExponentialLR as ExponentialLR
from fastdl.optim.schedule import ReduceLROnPlateau as ReduceLROnPlateau
from fastdl.optim.schedule import Schedule as Schedule
from fastdl.optim.schedule import StepLR as StepLR
from fastdl.optim.sgd import SGD as SGD
