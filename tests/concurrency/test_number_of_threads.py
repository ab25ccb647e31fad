"""The number of threads, set by one thread while another computes."""


def test_the_number_of_threads_may_change_in_the_midst_of_a_call(python):
    code = """
import sys, threading
import numpy as np
import fastdl
from fastdl import nn

sys.setswitchinterval(1e-5)
layer = nn.Conv2d(3, 16, 3, padding=1, rng=0)
x = np.ones((32, 3, 16, 16), np.float32)
over, found = threading.Event(), []


def change():
    n = 0
    while not over.is_set():
        n += 1
        fastdl.set_num_threads(1 if n % 2 else 16)


def call():  # in a thread of its own, whose memory to work in is no larger than it asks for
    with fastdl.no_grad():
        found.append(layer(x).tobytes())


changing = threading.Thread(target=change)
changing.start()
for _ in range(200):
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
over.set()
changing.join()
print(len(set(found)), len(found))
"""
    done = python(code)
    assert done.stdout == "1 200\n", done.stderr


def test_a_setting_holds_in_a_thread_from_its_next_call_on(python):
    code = """
import threading
import fastdl

numbers, go = [], [threading.Event() for _ in range(4)]


def other():
    for number in (0, 2):
        numbers.append(fastdl.get_num_threads())
        go[number].set()
        go[number + 1].wait()
    numbers.append(fastdl.get_num_threads())


fastdl.set_num_threads(3)
thread = threading.Thread(target=other)
thread.start()
for number in (0, 2):
    go[number].wait()
    fastdl.set_num_threads(1 + number)
    go[number + 1].set()
thread.join()
print(numbers, fastdl.get_num_threads())
"""
    done = python(code, FASTDL_NUM_THREADS="2")
    assert done.stdout == "[3, 1, 3] 3\n", done.stderr
