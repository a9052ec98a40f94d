"""Runs a function on many jobs in parallel through joblib: on this machine, or on a Dask or Ray cluster."""
import contextlib
import importlib.util
import logging
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import warnings
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import joblib

from misc.errors import UserError
from misc.lookup import lookup
from misc.parent import live_and_die_with

CONNECT_SECONDS = 10
ANSWER_SECONDS = 60


Keys = Dict[str, Any]
Backend = Tuple[Any, Keys]  # what joblib knows it by, and further keys of joblib.parallel_config


class Workers(NamedTuple):
    """Where jobs run."""

    n_jobs: Optional[int] = None   # at a time; None: one per core, or all workers of a cluster
    backend: str = "loky"          # loky (this machine), dask or ray
    address: Optional[str] = None  # HOST:PORT of a running cluster
    per_gpu: int = 0               # jobs that share a GPU; 0: no job uses one


class Package(NamedTuple):
    """What a backend needs to be installed."""

    module: str   # its name for `import`
    install: str  # and for pip


PACKAGES = {"dask": Package("distributed", "dask[distributed]"), "ray": Package("ray", "ray")}


def parallel_map(function: Callable[[Any], Any], items: Sequence[Any], workers: Workers) -> List[Any]:
    """Returns [function(item) for item in items], computed in the processes of `workers`.

    Raises what joblib does if a process dies.
    """
    n_jobs = _n_jobs(workers)
    with contextlib.ExitStack() as stack:
        backend, keys = stack.enter_context(
            lookup(BACKENDS, workers.backend, "backend")(workers._replace(n_jobs=n_jobs)))
        stack.enter_context(joblib.parallel_config(backend, **dict({"n_jobs": n_jobs}, **keys)))
        return joblib.Parallel(batch_size=1)(joblib.delayed(function)(item) for item in items)


def _n_jobs(workers: Workers) -> int:
    """Returns how many jobs run at a time; -1: as many as a cluster has workers."""
    if workers.address:
        return workers.n_jobs or -1
    n_jobs = workers.n_jobs or joblib.cpu_count()
    if workers.per_gpu and workers.backend != "ray":  # Ray counts GPUs itself; elsewhere all runs use the first
        n_jobs = min(n_jobs, workers.per_gpu)
    return n_jobs


def check_backend(backend: str, address: Optional[str] = None) -> None:
    """Raises UserError unless the backend exists, is installed, and a cluster of its kind answers at the address."""
    lookup(BACKENDS, backend, "backend")
    if backend == "loky":
        if address:
            raise UserError("--address goes with --backend dask or ray; loky runs on this machine only")
        return
    package = PACKAGES[backend]
    if importlib.util.find_spec(package.module) is None:
        raise UserError(f"--backend {backend} needs a package that is not installed: pip install '{package.install}', "
                        "or use --backend loky")
    if address:
        host, _, port = address.split("://")[-1].rpartition(":")
        if not host or not re.fullmatch("[0-9]+", port):
            raise UserError(f"--address {address}: give HOST:PORT of the {backend} cluster")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise UserError(f"--address {address}: no {backend} cluster can be reached there ({error}); "
                            "start one, or leave --address out to use this machine") from None
        _check_cluster(backend, address)


def _check_cluster(backend: str, address: str) -> None:
    """Raises UserError unless a worker of the cluster answers. Asks from a process of its own, which can time out."""
    command = [sys.executable, "-m", "core.baseline.probe", str(os.getpid()), backend, address]
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=ANSWER_SECONDS,
                              cwd=str(pathlib.Path(__file__).resolve().parents[2]))
        why = done.stderr.decode(errors="replace").strip().splitlines()[-1:] if done.returncode else None
    except subprocess.TimeoutExpired:
        why = [f"no answer within {ANSWER_SECONDS} seconds"]
    if why is not None:
        raise UserError(f"--address {address}: what listens there is not a {backend} cluster whose workers can run "
                        f"this project ({''.join(why)}); start its workers in this folder, with this Python")


class _Loky(joblib.parallel.BACKENDS["loky"]):
    """Joblib's own processes, which end with this one: also before they have a job, and while they start."""

    def configure(self, *args: Any, **kwargs: Any) -> int:
        return super().configure(*args, initializer=live_and_die_with, initargs=(os.getpid(),), **kwargs)


@contextlib.contextmanager
def _loky(workers: Workers) -> Iterator[Backend]:
    yield _Loky(), {}


@contextlib.contextmanager
def _dask(workers: Workers) -> Iterator[Backend]:
    import distributed

    address = workers.address
    logging.getLogger("distributed.nanny").setLevel(logging.ERROR)  # warns whenever Ctrl-C ends a worker
    with contextlib.ExitStack() as stack:
        if address is None:
            cluster = distributed.LocalCluster(n_workers=workers.n_jobs, threads_per_worker=1, processes=True,
                                               host="127.0.0.1", dashboard_address=None)
            address = stack.enter_context(cluster)
        try:
            stack.enter_context(distributed.Client(address, timeout=CONNECT_SECONDS))
        except (OSError, ValueError) as error:
            raise UserError(f"--address {address}: this is not a Dask scheduler ({error})") from None
        yield "dask", {}


@contextlib.contextmanager
def _ray(workers: Workers) -> Iterator[Backend]:
    import ray
    from ray.util.joblib import register_ray

    n_jobs, _, address, per_gpu = workers
    # "local": a cluster of its own, even if one happens to run on this machine
    where = {"address": address} if address else {"address": "local", "num_cpus": n_jobs, "include_dashboard": False}
    # Workers find the project's modules as this process does.
    paths = os.pathsep.join([path for path in sys.path if path] + [os.getcwd()])
    try:
        with warnings.catch_warnings(), _own_sigterm():
            warnings.simplefilter("ignore")
            ray.init(logging_level="ERROR", log_to_driver=False,
                     runtime_env={"env_vars": {"PYTHONPATH": paths}}, **where)
    except (ConnectionError, RuntimeError, ValueError) as error:
        what = f"--address {address}: this is not a Ray cluster" if address else "Ray does not start"
        raise UserError(f"{what} ({error})") from None
    try:
        register_ray()
        yield "ray", _gpu_keys(n_jobs, per_gpu, ray.cluster_resources().get("GPU", 0)) if per_gpu else {}
    finally:
        ray.shutdown()


def _gpu_keys(n_jobs: int, per_gpu: int, n_gpus: float) -> Keys:
    """Returns what joblib must tell Ray so that its tasks see a GPU: Ray hides GPUs from tasks that ask for none.

    Raises UserError if Ray has no GPU.
    """
    if n_gpus < 1:
        raise UserError("--backend ray: Ray knows of no GPU that a run could use; use --device cpu")
    places = int(n_gpus) * per_gpu
    return {"n_jobs": places if n_jobs == -1 else min(n_jobs, places), "ray_remote_args": {"num_gpus": 1.0 / per_gpu}}


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keeps this process's handler of SIGTERM, in place of which Ray sets its own."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


# backend -> context in which joblib can use it; it yields what joblib knows it by, and further keys of parallel_config.
BACKENDS = {"loky": _loky, "dask": _dask, "ray": _ray}
