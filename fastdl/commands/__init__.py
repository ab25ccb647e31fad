"""The commands of `fastdl`, one file each: `add` declares a command's options, `run` does its work."""
