"""Whoever imports this measures the installed fastdl: the checkout, which `python -m` puts first, no longer shadows it."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
here = [entry for entry in sys.path if Path(entry or ".").resolve() == ROOT]
sys.path[:] = [entry for entry in sys.path if entry not in here] + [str(ROOT)]
