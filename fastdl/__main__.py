"""`python -m fastdl` is the `fastdl` command."""

import sys

from fastdl.cli import main

sys.exit(main())
