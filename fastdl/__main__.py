"""`python -m fastdl` is the `fastdl` command."""

from fastdl.cli import command

command()
