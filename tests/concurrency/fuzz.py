"""Does everything to a trainer at random moments, and looks for crashes, hangs and wrong results.

Rounds are drawn from seeds, one after the other. In each a fit, predictions or steps by hand run, while callbacks, signal
handlers, threads and forked children do other things, of which some change the model and the data. Where nothing changes
them, the results must be the same bits as without. Rounds run in children, under faulthandler and a watchdog; what is found
is printed with its seed.

    python tests/concurrency/fuzz.py --seconds 600 --seed 1
    python tests/concurrency/fuzz.py --seed 4711 --rounds 1 --repeat 20     # a finding again
"""

import argparse
import faulthandler
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from contextlib import suppress

# Rounds of one child, and the seconds that a round may take.
ROUNDS = 25
LIMIT = 120
# So often a handler may come amid its own work.
DEEPEST = 4


def run_round(seed, folder, only=None):
    """One round; returns what is wrong."""
    from actions import CHANGING, PURE, Disturbed, attempt, expected, leave
    from world import Own, World, in_bytes

    import fastdl
    from fastdl._kernels.access import busy
    from fastdl._kernels.quiet import Quiet
    from fastdl.callbacks import Callback
    from fastdl.graph.value import current
    from fastdl.nn.grad_mode import is_grad_enabled
    from fastdl.random import default_stream, stream

    draws = random.Random(seed ^ 0x5EED)
    world, twin = World(seed, folder), World(seed, folder)
    pure = draws.random() < 0.4
    work = draws.choice(["fit", "fit", "fit", "predict", "hand"])
    world.faults, world.may_change, world.careless, world.mode_changed = [], not pure, False, False
    fastdl.set_num_threads(world.threads)
    fastdl.set_winograd(True)
    # Each has draws of its own, so that they do not depend on when the others come.
    ways = [way for way in ("callback", "signal", "thread", "thread", "module") if draws.random() < 0.5] or ["callback"]
    seeds = {(way, number): draws.randrange(2**30) for number, way in enumerate(ways)}
    left = {key: draws.choice([3, 10, 40]) for key in seeds}
    chosen = draws.sample(PURE, 6) + ([] if pure else draws.sample(CHANGING, 6))
    over = threading.Event()

    def act(key, own):
        if left[key] > 0 and not over.is_set():
            left[key] -= 1
            attempt(own.choice(chosen), world, own)

    def acting(key, often):
        own, amid = random.Random(seeds[key]), []

        def now(*_):
            # A handler that comes amid its own work, again and again, ends in a RecursionError of Python.
            if own.random() < often and len(amid) < DEEPEST:
                amid.append(key)
                try:
                    act(key, own)
                finally:
                    amid.pop()

        return now

    class Acting(Callback):
        watches = draws.random() < 0.5

    def thread(key):
        own = random.Random(seeds[key])
        for _ in range(left[key]):
            if over.is_set():
                break
            with suppress(Disturbed, KeyboardInterrupt):
                act(key, own)
            time.sleep(own.choice([0, 0, 0.001, 0.01]))

    threads, callbacks, Own.act = [], [], None
    for key in seeds:
        if key[0] == "callback":
            now = acting(key, draws.choice([0.05, 0.5]))
            hooks = ["on_fit_begin", "on_epoch_begin", "on_step_end", "on_epoch_end", "on_checkpoint", "on_fit_end"]
            for hook in hooks if draws.random() < 0.3 else draws.sample(hooks, draws.randint(1, 2)):
                setattr(Acting, hook, lambda self, *_, now=now: now())
            callbacks.append(Acting())
        elif key[0] == "module":
            Own.act = acting(key, 0.05)
        elif key[0] == "thread":
            threads.append(threading.Thread(target=thread, args=(key,), daemon=True))

    def result(of, callbacks=()):
        if work == "fit":
            return of.fit(callbacks)["loss"]
        if work == "predict":
            return [in_bytes(of.trainer.predict(of.x, batch_size=of.batch_size)) for _ in range(10)]
        return of.train_by_hand()

    wanted = None
    if pure:
        act_before, Own.act = Own.act, None
        with warnings.catch_warnings(), Quiet(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                wanted = result(twin), twin.bits()
            except (FloatingPointError, ValueError):
                return []  # losses grow too large, or a batch of one row meets a batch normalization
        Own.act = act_before
    modes, layers = world.modes(), list(world.model.modules())
    for each in threads:
        each.start()
    found = raised = None
    with suppress(Disturbed, KeyboardInterrupt):  # a handler may also come between the lines here
        try:
            for key in seeds:
                if key[0] == "signal":
                    signal.signal(signal.SIGALRM, acting(key, 1.0))
                    often = draws.choice([0.001, 0.01, 0.05])
                    signal.setitimer(signal.ITIMER_REAL, often, often)
            with warnings.catch_warnings(), Quiet(all="ignore"):
                warnings.simplefilter("ignore")
                found = result(world, callbacks)
        except BaseException as error:
            raised = error
        finally:
            while True:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    signal.signal(signal.SIGALRM, signal.SIG_IGN)
                    break
                except (Disturbed, KeyboardInterrupt):
                    pass
    over.set()  # a handler's error amid it would leave its lock held
    disturbed = raised is None or isinstance(raised, (Disturbed, KeyboardInterrupt))
    if not disturbed and (pure or not expected(raised, world)):
        world.faults.append("".join(traceback.format_exception(raised)))
    raised = None  # with it go the frames
    for each in threads:
        each.join()
    Own.act = None
    faults = world.faults
    if busy():
        faults.append("a turn was not given back")
    if not is_grad_enabled():
        faults.append("no_grad was not given back")
    if current.graph is not None:
        faults.append("a trace was not ended")
    if stream() is not default_stream():
        faults.append("the stream of a fit was not given back")
    if world.trainer._runs():
        faults.append("the trainer counts as running")
    same = [id(each) for each in world.model.modules()] == [id(each) for each in layers]
    if same and not world.mode_changed and world.modes() != modes:
        faults.append("modes have changed")
    if wanted is not None and not faults:
        if found is None:
            faults.append("the results are missing")
        elif (found, world.bits()) != wanted:
            faults.append("the results are not those of the same work alone")
    names = [getattr(each, "__name__", "") for each in chosen if each is not leave]
    about = f"{work} with {', '.join(ways)}; {names}; {world.model.spec()}, {type(world.optimizer).__name__}"
    return [f"{about}\n{fault}" for fault in faults]


def child(first, count, repeat, limit):
    """Rounds of this process; it ends at the first that is wrong."""
    if "san" not in os.environ.get("LD_PRELOAD", ""):  # a sanitizer tells more
        faulthandler.enable()
    faulthandler.register(signal.SIGUSR1)

    import fastdl.nn.spec
    import fastdl.nn.summary
    import fastdl.nn.vjp
    import fastdl.serialization.model_file
    import fastdl.training.derived_loss
    import fastdl.training.engine_choice
    import fastdl.training.native_engine
    import fastdl.training.single_step
    import fastdl.training.training_state  # noqa: F401 - Python itself cannot import in a handler what its thread is importing

    tempfile.TemporaryDirectory().cleanup()  # the first one imports, too

    sys.setswitchinterval(1e-4)
    for seed in [seed for seed in range(first, first + count) for _ in range(repeat)]:
        os.write(1, f"{seed}\n".encode())
        faulthandler.dump_traceback_later(limit, exit=True)
        folder = tempfile.mkdtemp(prefix="fastdl-fuzz-")
        try:
            faults = run_round(seed, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if faults:
            os.write(2, "\n".join(faults).encode())
            os._exit(3)
    os._exit(0)


def main():
    """Run children until the time or the rounds are over; the exit code tells whether something was found."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--seed", type=int, default=0, help="of the first round; the next has the next")
    words.add_argument("--rounds", type=int, default=10**9, help="so many at most")
    words.add_argument("--seconds", type=float, default=10**9, help="begin none after so long")
    words.add_argument("--repeat", type=int, default=1, help="each round so many times")
    words.add_argument("--limit", type=float, default=LIMIT, help="the seconds that a round may take")
    words.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = words.parse_args()
    if options.child:
        child(options.seed, options.child, options.repeat, options.limit)
    began, seed, end, found = time.monotonic(), options.seed, options.seed + options.rounds, 0
    while seed < end and time.monotonic() - began < options.seconds:
        count = min(ROUNDS, end - seed)
        command = [sys.executable, __file__, "--child", str(count), "--seed", str(seed)]
        command += ["--repeat", str(options.repeat), "--limit", str(options.limit)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode == 0:
            seed += count
            continue
        if not done.stdout:
            print(done.stderr)
            return 2
        latest = int(done.stdout.split()[-1])
        kind = {3: "wrong", 1: "an error or a hang"}.get(done.returncode, f"exit code {done.returncode}")
        found += 1
        print(f"--- seed {latest} (of the child that began with {seed}): {kind}\n{done.stderr[-20000:]}", flush=True)
        seed = latest + 1
    print(f"{seed - options.seed} rounds, {found} findings", flush=True)
    return found > 0


if __name__ == "__main__":
    sys.exit(main())
