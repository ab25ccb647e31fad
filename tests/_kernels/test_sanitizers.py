"""A kernel of the core runs clean under the compiler's sanitizers, and they see an error in it."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "fastdl" / "_kernels"
# ThreadSanitizer wants the addresses of a process where it expects them.
RUN = ("setarch", "-R") if shutil.which("setarch") else ()


def compiled(source, program, sanitizer):
    """Whether the compiler makes the program."""
    flags = [
        "-std=c++17",
        "-O1",
        "-g",
        "-pthread",
        "-Wno-psabi",
        f"-fsanitize={sanitizer}",
        "-fno-sanitize-recover=all",
    ]
    command = ["g++", *flags, "-DFASTDL_LEVEL=portable", "-I", KERNELS, source, "-o", program]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize(
    ("sanitizer", "error", "report"),
    [
        ("address,undefined", "beyond", "AddressSanitizer: heap-buffer-overflow"),
        ("thread", "race", "ThreadSanitizer: data race"),
    ],
)
def test_a_kernel_is_clean_and_an_error_is_seen(tmp_path, sanitizer, error, report):
    (tmp_path / "empty.cpp").write_text("int main() {}\n")
    if not compiled(tmp_path / "empty.cpp", tmp_path / "empty", sanitizer):
        pytest.skip(f"the compiler has no {sanitizer} sanitizer")
    program = tmp_path / "sanitized"
    assert compiled(HERE / "sanitized.cpp", program, sanitizer)
    done = subprocess.run([*RUN, program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")
    done = subprocess.run([*RUN, program, error], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert report in done.stderr
