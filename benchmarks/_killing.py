"""Fits that are killed and resumed, and what becomes of them: the work of `benchmarks.kills`."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np

SIGNALS = {
    "SIGKILL": signal.SIGKILL,
    "SIGTERM": signal.SIGTERM,
    "SIGINT": signal.SIGINT,
    "SIGINT twice": signal.SIGINT,
}
MOMENTS = ("at a random time", "within a save")
SAVE_EVERY = 0.05
"""Seconds between two states."""
REACH = 0.7
"""A kill comes within this share of what a whole fit takes,
in seconds or in steps that its saves take.
"""
KILLS_OF_A_RUN = 6
"""After so many, at most, a run is left alone."""
PRELOADED = [
    "numpy",
    "torch",
    "sklearn",
    "nelbo.estimator",
    "nelbo.cli.fit",
    "nelbo.picture",
    "benchmarks._killing",
]
OPTIONS = (
    "--latent-dim",
    "2",
    "--hidden",
    "16",
    "--max-steps",
    "200",
    "--held-out",
    "0",
    "--quiet",
    "--resume",
)
EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


def kills(count: int, folder: Path, seed: int = 0) -> list[dict[str, Any]]:
    """Kill fits so often, and return of each kill what was left and what came of it.

    Arguments:
        count: How many kills.
        folder: To work in.
        seed: Of signals and moments.
    """
    rng, found = random.Random(seed), list[dict[str, Any]]()
    np.save(folder / "table.npy", rows())
    with server() as forks:
        expected, reach = whole(forks, folder)
        number = 0
        while len(found) < count:
            most = min(count - len(found), KILLS_OF_A_RUN)
            found += killed_run(forks, folder, f"run{number}", rng, most, expected, reach)
            number += 1
            print(f"\r{len(found)} of {count} kills", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def rows() -> np.ndarray[Any, Any]:
    """Return a table on which training beats its start,
    so that there is a second one on all rows.
    """
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, 200)
    x = np.stack([np.cos(angle), np.sin(angle), 0.3 * np.cos(2 * angle)], axis=1)
    return np.asarray(x + 0.03 * rng.normal(size=x.shape))


@contextlib.contextmanager
def server() -> Iterator[ForkServerContext]:
    """Start a process that has everything imported, from which fits are forked in no time."""
    os.environ["OMP_NUM_THREADS"] = "1"  # a thread does not survive a fork
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    yield context


def whole(forks: ForkServerContext, folder: Path) -> tuple[bytes, tuple[float, int]]:
    """Return the weights of a fit that nobody disturbs;
    its seconds, and the steps that its saves take.
    """
    forks.Process(target=os.getpid).start()  # which starts the server, and takes a while
    begun = time.perf_counter()
    child = forks.Process(target=fit, args=(folder, "whole", "", 0))
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(f"The fit itself failed:\n{(folder / 'whole.log').read_text()}")
    seconds = time.perf_counter() - begun
    return weights(folder / "whole"), (seconds, int((folder / "whole.steps").read_text()))


def weights(run: Path) -> bytes:
    """Return the weights of a saved model, once it is seen to be whole."""
    from nelbo import VariationalAutoencoder

    VariationalAutoencoder.load(run)
    return (run / "model.safetensors").read_bytes()


def killed_run(
    forks: ForkServerContext,
    folder: Path,
    name: str,
    rng: random.Random,
    most: int,
    expected: bytes,
    reach: tuple[float, int],
) -> list[dict[str, Any]]:
    """Kill a fit up to so many times, then let it end;
    return of each kill what was left and what came of it.
    """
    found: list[dict[str, Any]] = []
    run, last = folder / name, -1
    for _ in range(rng.randint(1, most)):
        kind, moment = rng.choice(list(SIGNALS)), rng.choice(MOMENTS)
        steps = rng.randint(1, round(REACH * reach[1])) if moment == MOMENTS[1] else 0
        (folder / f"{name}.begun").unlink(missing_ok=True)
        child = forks.Process(target=fit, args=(folder, name, kind, steps))
        child.start()
        while not (folder / f"{name}.begun").exists() and child.is_alive():
            time.sleep(0.001)
        if not steps:
            child.join(rng.uniform(0, REACH * reach[0]))
            if child.exitcode is None:
                send(child.pid, kind)
        child.join()
        if child.exitcode == 0:  # it ended before
            break
        left, phase, step = what_is_left(run)
        rude = kind != "SIGKILL" and "Traceback" in (folder / f"{name}.log").read_text(
            errors="replace"
        )
        one = {
            "run": name,
            "signal": kind,
            "moment": moment,
            "left": left,
            "phase": phase,
            "step": step,
            "rude": rude,
        }
        # never back to an older state
        found.append(one | {"outcome": "lost" if step < last else "open"})
        last = step
        if left == "model":
            break
    if what_is_left(run)[0] != "model":
        child = forks.Process(target=fit, args=(folder, name, "", 0))
        child.start()
        child.join()
    same = what_is_left(run)[0] == "model" and weights(run) == expected
    for one in found:
        if one["outcome"] == "open":
            one["outcome"] = "same bits" if same else "lost"
    return found


def send(pid: int | None, kind: str) -> None:
    """Send a process a signal, or two."""
    with contextlib.suppress(ProcessLookupError):
        if pid is not None:
            os.kill(pid, SIGNALS[kind])
            if kind == "SIGINT twice":
                time.sleep(0.005)
                os.kill(pid, SIGNALS[kind])


def what_is_left(run: Path) -> tuple[str, str, int]:
    """Return what there is of a run, the training that it is in,
    and a number that grows with what is done.
    """
    from nelbo.checkpoint import exists

    if exists(run):
        return "model", "saved", 10**9
    partial = run.with_name(f"{run.name}.partial")
    if not exists(partial):
        return "nothing yet", "nothing yet", 0
    config = json.loads((partial / "config.json").read_text())
    state, finished = config["state"], len(config["earlier"]) + config["state"]["finished"]
    done = (
        10**8 * config["complete"] + 10**6 * finished + (0 if state["finished"] else state["step"])
    )
    return ("trained" if config["complete"] else "state"), config["phase"], done


def fit(folder: Path, name: str, kind: str, steps: int) -> None:
    """Run `nelbo fit` in this process;
    send it a signal at a certain step that a save takes in the file system.
    """
    log = os.open(folder / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    import torch

    from nelbo.__main__ import main
    from nelbo.fitting import resume

    torch.set_num_threads(1)
    resume.STORE_EVERY = SAVE_EVERY
    left = [steps]

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and any(".nelbo-" in str(argument) for argument in arguments[:2]):
            left[0] -= 1
            if left[0] == 0:
                send(os.getpid(), kind)

    sys.addaudithook(watch)
    sys.argv = ["nelbo", "fit", str(folder / "table.npy"), "--out", str(folder / name), *OPTIONS]
    (folder / f"{name}.begun").touch()
    code = main()
    (folder / f"{name}.steps").write_text(str(steps - left[0]))
    sys.exit(code)
