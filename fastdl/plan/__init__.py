"""A model as a plan: operations over one arena of memory, ready to run as a native program."""

from fastdl.plan.plan import InPythonError as InPythonError
from fastdl.plan.plan import NotPlannedError as NotPlannedError
from fastdl.plan.plan import Plan as Plan
from fastdl.plan.plan import as_defined as as_defined
