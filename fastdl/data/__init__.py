"""Data: generators, what prepares arrays for a network, and batches."""

from fastdl.data.augment import Compose as Compose
from fastdl.data.augment import Flip as Flip
from fastdl.data.augment import Noise as Noise
from fastdl.data.augment import Shift as Shift
from fastdl.data.batches import batches as batches
from fastdl.data.digits import digits as digits
from fastdl.data.generators import ball as ball
from fastdl.data.generators import disk as disk
from fastdl.data.split import split as split
from fastdl.data.transform import Standardize as Standardize
from fastdl.data.transform import one_hot as one_hot
from fastdl.data.transform import pixels as pixels
from fastdl.data.transform import standardize as standardize
