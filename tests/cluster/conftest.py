"""Two clusters, each a master and two workers of one core: processes of this machine, and hosts whose network can be cut."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyspark
import pytest

from classical.hmm.saving import load as load_hmm
from launch.session import java_home
from prep.dataset import SequenceDataset

SPARK = Path(pyspark.__file__).parent
DRIVER, WORKERS = "10.77.0.1", {"host1": "10.77.0.11", "host2": "10.77.0.12"}


def until(true: Callable[[], object], what: str, seconds: float = 240) -> None:
    """Waits until something is true, for so long at most."""
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)


def ended(driver: subprocess.Popen[Any]) -> str:
    """What it had to say, where it is not expected to be over."""
    return f"it is over already, with status {driver.returncode}: " + "".join(map(str, driver.communicate()))


class Standalone:
    """On the loopback address. Commands run in `folder`, where readings.csv and spec.toml lie."""

    def __init__(self, logs: Path, folder: Path) -> None:
        self.logs, self.folder, self.processes = logs, folder, dict[str, subprocess.Popen[bytes]]()
        self.earlier = set[int]()
        self.url = f"spark://127.0.0.1:{_free_port()}"
        self.environment = {
            # Each executor has a cache of its own, as each host would.
            **{name: value for name, value in os.environ.items() if name != "HINDCAST_CACHE"},
            "JAVA_HOME": str(java_home()),
            "SPARK_HOME": str(SPARK),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "PYSPARK_PYTHON": sys.executable,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def up(self) -> None:
        self.start_master()
        for name in ("one", "two"):
            self.start_worker(name)

    def start_master(self) -> None:
        """And waits until it is up."""
        (self.logs / "master.log").touch()
        before, port = self._said("New state: ALIVE"), self.url.rpartition(":")[2]
        self._serve("master", "master.Master", "--port", port, "--webui-port", str(_free_port()))
        until(lambda: self._said("New state: ALIVE") > before, "the master is up")

    def restart_master(self) -> None:
        """Until the workers have come to it by themselves."""
        self.start_master()
        until(lambda: self.workers == 2, "both workers have come to the new master")

    def start_worker(self, name: str, **environment: str) -> None:
        """And waits until the master knows it."""
        before = self._said("Registering worker")
        web = str(_free_port())
        self._serve(name, "worker.Worker", "--cores", "1", "--memory", "2g", "--webui-port", web, self.url, **environment)
        until(lambda: self._said("Registering worker") > before, f"worker {name} is up")

    def kill(self, name: str) -> None:
        """The master, or a worker, whose executors then end by themselves."""
        self.processes[name].kill()
        self.processes[name].wait(timeout=30)

    def down(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(timeout=30)

    @property
    def launched(self) -> int:
        """How many executors there have been."""
        return self._said("Launching executor")

    @property
    def workers(self) -> int:
        """How many workers have come to the master that is up now."""
        return (self.logs / "master.log").read_text().rpartition("New state: ALIVE")[2].count("Registering worker")

    @property
    def registered(self) -> int:
        """How many applications there have been."""
        return self._said("Registered app")

    def run(self, *command: str, **environment: str) -> str:
        """What a command prints that ends as it should."""
        told = {**self.environment, **environment}
        ran = subprocess.run(command, cwd=self.folder, env=told, capture_output=True, text=True, timeout=600)
        assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]
        return ran.stdout

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """A command that runs on; what it prints is read when it is over."""
        self.earlier = {process.pid for worker in ("one", "two") for process in executors(self.processes[worker])}
        told, out = {**self.environment, **environment}, subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=told, stdout=out, stderr=out, text=True)

    def assert_ends_well(self, driver: subprocess.Popen[str]) -> None:
        out, err = driver.communicate(timeout=400)
        assert driver.returncode == 0, out[-2000:] + err[-4000:]

    def assert_same_hmm(self, out: str, expected: Path) -> None:
        """Two models whose parameters are the same to rounding."""
        found, known = (load_hmm(place).model for place in (self.folder / out, expected))
        np.testing.assert_allclose(found.transition, known.transition, rtol=1e-8, atol=1e-10)
        for name, array in known.emission.arrays().items():
            np.testing.assert_allclose(getattr(found.emission, name), array, rtol=1e-8, atol=1e-10, err_msg=name)

    def until_checkpoint(self, out: str, driver: subprocess.Popen[Any]) -> None:
        """Waits until the fit of a driver has left one."""
        place = self.folder / f"{out}.checkpoint"
        until(lambda: place.exists() or driver.poll() is not None, f"{place} is there")
        assert driver.poll() is None, ended(driver)

    def until_said(self, driver: subprocess.Popen[str], pattern: str) -> None:
        """Waits until a command has printed that. What it printed until then is not read again when it is over."""
        assert driver.stdout is not None
        out, said = driver.stdout.fileno(), ""

        def heard() -> bool:
            nonlocal said
            if select.select([out], [], [], 0)[0]:
                said += os.read(out, 1 << 16).decode(errors="replace")
            return re.search(pattern, said) is not None or driver.poll() is not None

        until(heard, f"{pattern!r} is printed")
        assert driver.poll() is None, said + ended(driver)

    def kill_executor(self, worker: str) -> None:
        """Of the command that was started last, once Python works in it."""
        found: list[psutil.Process] = []

        def busy() -> bool:
            new = [one for one in executors(self.processes[worker]) if one.pid not in self.earlier]
            found[:] = [one for one in new if any("launch.daemon" in _line(child) for child in _children(one))]
            return bool(found)

        until(busy, f"an executor of worker {worker} works")
        os.kill(found[0].pid, signal.SIGKILL)

    def ranks(self) -> list[psutil.Process]:
        """The processes of Horovod's ranks on both workers."""
        every = [child for worker in ("one", "two") for child in _children(psutil.Process(self.processes[worker].pid))]
        return [process for process in every if "horovod.spark.task.gloo_exec_fn" in _line(process)]

    def until_ended(self, processes: list[psutil.Process], seconds: float) -> None:
        """Waits until there is none of them any more."""
        _, alive = psutil.wait_procs(processes, timeout=seconds)
        assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]

    def _said(self, pattern: str) -> int:
        return len(re.findall(pattern, (self.logs / "master.log").read_text()))

    def _serve(self, name: str, kind: str, *arguments: str, **environment: str) -> None:
        command = [str(SPARK / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}", "--host", "127.0.0.1", *arguments]
        told = {
            **self.environment,
            "SPARK_WORKER_DIR": str(self.logs / name),
            "JAVA_TOOL_OPTIONS": os.environ["SPARK_SUBMIT_OPTS"],
            **environment,
        }
        with (self.logs / f"{name}.log").open("ab") as out:
            self.processes[name] = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=told)


def executors(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [child for child in _children(psutil.Process(worker.pid)) if "CoarseGrainedExecutorBackend" in _line(child)]


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:  # it has ended meanwhile
        return []


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended meanwhile
        return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    folder = tmp_path_factory.mktemp("work")
    hours = np.arange(600)
    rng = np.random.default_rng(0)
    times = np.datetime_as_string(np.datetime64("2025-01-01T00") + hours, "s")
    lines = [
        f"{t},{name},{20 + 5 * np.sin(h / 4) + rng.normal():.3f}" for name in "abcd" for h, t in zip(hours, times, strict=True)
    ]
    (folder / "readings.csv").write_text("\n".join(["time,sensor,heat", *lines]) + "\n")
    (folder / "spec.toml").write_text(
        '[readings]\npath = "readings.csv"\ntimestamp = "time"\nseries = "sensor"\n[windows]\ncontext = 24\nhorizon = 8\n'
        "[hmm]\nstates = 2\niterations = 40\ntolerance = 0.0\n"
        "[lstm]\nunits = 8\nbatch = 64\nepochs = 30\npatience = 30\ncheckpoint_steps = 10\n"
    )
    cluster = Standalone(tmp_path_factory.mktemp("cluster"), folder)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


class Disk:
    """A small file system of its own."""

    BYTES, FILES = 32 << 20, 4000

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mount(self) -> None:
        """Skips the test where that is not allowed."""
        if os.geteuid() != 0 or shutil.which("mount") is None:
            pytest.skip("a file system is mounted by root alone, with mount")
        size = f"size={self.BYTES},nr_inodes={self.FILES}"
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.folder)], capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"this machine mounts no file system: {mounted.stderr.strip()}")

    def fill(self) -> None:
        """With bytes and with files: nothing can be made there any more."""
        with suppress(OSError), (self.folder / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 12))
        with suppress(OSError):
            for number in range(self.FILES):
                (self.folder / f"filler-{number}").touch()

    def until_persisted(self, driver: subprocess.Popen[Any]) -> None:
        until_persisted(self.folder, driver)


def until_persisted(folder: Path, driver: subprocess.Popen[Any]) -> None:
    """Waits until an executor that keeps its files there has something that was shuffled, and something that was persisted."""

    def both() -> bool:
        names = [name for _, _, files in os.walk(folder) for name in files]
        return all(any(name.startswith(kind) for name in names) for kind in ("shuffle_", "rdd_"))

    until(lambda: both() or driver.poll() is not None, f"an executor has worked something out, in {folder}")
    assert driver.poll() is None, ended(driver)


@pytest.fixture
def small_disk(standalone: Standalone, tmp_path: Path) -> Iterator[Disk]:
    """What worker two and its executors write lies on it: Spark's local directory, Hindcast's cache, logs."""
    disk = Disk(tmp_path)
    disk.mount()
    try:
        standalone.kill("two")
        standalone.start_worker("two", SPARK_LOCAL_DIRS=str(tmp_path / "local"), SPARK_WORKER_DIR=str(tmp_path / "work"))
        yield disk
    finally:
        standalone.kill("two")
        standalone.start_worker("two")
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


@pytest.fixture(scope="session")
def dataset(standalone: Standalone) -> SequenceDataset:
    """d.seq, prepared on the cluster."""
    standalone.run("hindcast", "prep", "spec.toml", "d.seq", "--cluster.master", standalone.url)
    return SequenceDataset.open(standalone.folder / "d.seq")


@pytest.fixture(scope="session")
def local_hmm(standalone: Standalone, dataset: SequenceDataset) -> Path:
    """Fitted to it on one machine."""
    standalone.run(
        "hindcast", "fit", "hmm", "d.seq", "--settings", "spec.toml", "--out", "local.hmm", "--cluster.master", "local[1]"
    )  # fmt: skip
    return standalone.folder / "local.hmm"


@pytest.fixture(scope="session")
def models(standalone: Standalone, dataset: SequenceDataset) -> Path:
    """An LSTM of each series, on one machine."""
    standalone.run(
        "hindcast", "fit", "lstm", "d.seq", "--settings", "spec.toml", "--out", "local.models", "--cluster.on", "partitions",
        "--lstm.epochs", "10", "--cluster.master", "local[1]",
    )  # fmt: skip
    return standalone.folder / "local.models"


@pytest.fixture(scope="session")
def lstm(standalone: Standalone, dataset: SequenceDataset) -> Path:
    """Fitted to it on a rank at each worker."""
    standalone.run(
        "hindcast", "fit", "lstm", "d.seq", "--settings", "spec.toml", "--out", "lstm", "--cluster.master", standalone.url
    )  # fmt: skip
    return standalone.folder / "lstm"


class Hosts:
    """Network namespaces, joined by a bridge that lies in the driver's: the machine's own network is left as it is.

    Its name is eth0, as the workers' interfaces are called: Horovod wants one name on all hosts.
    """

    def __init__(self, folder: Path, conf: dict[str, str]) -> None:
        self.folder, self.started = folder, list[subprocess.Popen[bytes]]()
        self.workers = dict[str, subprocess.Popen[bytes]]()
        (folder / "conf").mkdir()
        (folder / "conf" / "spark-defaults.conf").write_text("".join(f"{key} {value}\n" for key, value in conf.items()))
        self.names = {name: f"hindcast-{os.getpid()}-{name}" for name in ("driver", *WORKERS)}
        self.master = f"spark://{DRIVER}:7077"

    def up(self) -> None:
        """The network; master and workers on it."""
        for name in self.names.values():
            _ip("netns", "add", name)
        driver = self.names["driver"]
        self._configure("driver", f"ip link add eth0 type bridge; ip addr add {DRIVER}/24 dev eth0; ip link set eth0 up")
        for host, address in WORKERS.items():
            _ip("link", "add", host, "netns", driver, "type", "veth", "peer", "name", "eth0", "netns", self.names[host])
            self._configure("driver", f"ip link set {host} master eth0; ip link set {host} up")
            self._configure(host, f"ip addr add {address}/24 dev eth0; ip link set eth0 up")
        table = "".join(
            f"{address} {host}\n" for host, address in {"localhost": "127.0.0.1", "driver": DRIVER, **WORKERS}.items()
        )
        (self.folder / "hosts").write_text(table)
        self._serve("driver", "master.Master", "--host", DRIVER, "--port", "7077", "--webui-port", "8180")
        for host, address in WORKERS.items():
            memory = ("--cores", "1", "--memory", "1g")
            self.workers[host] = self._serve(host, "worker.Worker", "--host", address, *memory, self.master)
        log = self.folder / "driver.log"
        until(lambda: all(f"Registering worker {address}:" in log.read_text() for address in WORKERS.values()), "workers are up")

    def start(self, host: str, *command: str, **options: object) -> subprocess.Popen[bytes]:
        """A process on a host, under its name."""
        script = 'hostname "$1"; mount --bind "$2" /etc/hosts; shift 2; exec "$@"'
        named = ["unshare", "-u", "-m", "sh", "-c", script, "sh", host, str(self.folder / "hosts"), *command]
        environment = {
            **os.environ,
            "JAVA_HOME": str(java_home()),
            "SPARK_HOME": str(SPARK),
            "SPARK_LOCAL_IP": {"driver": DRIVER, **WORKERS}[host],
            "SPARK_CONF_DIR": str(self.folder / "conf"),
            "SPARK_WORKER_DIR": str(self.folder / host),
            "SPARK_LOCAL_DIRS": str(self.folder / f"{host}.local"),
            "SPARK_DAEMON_MEMORY": "256m",
            "JAVA_TOOL_OPTIONS": os.environ["SPARK_SUBMIT_OPTS"],
            "PYSPARK_PYTHON": sys.executable,
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        }
        process = subprocess.Popen(["ip", "netns", "exec", self.names[host], *named], env=environment, **options)  # type: ignore[call-overload]
        self.started.append(process)
        return process

    def until_persisted(self, host: str, driver: subprocess.Popen[Any]) -> None:
        until_persisted(self.folder / f"{host}.local", driver)

    def cut(self, host: str) -> None:
        """Takes a worker's network away."""
        self._configure("driver", f"ip link set {host} down")

    def down(self) -> None:
        for name in self.names.values():
            listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
            subprocess.run(["kill", "-9", *listed.stdout.split()], capture_output=True, check=False)
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        for process in self.started:
            process.wait(timeout=30)

    def _configure(self, host: str, script: str) -> None:
        _ip("netns", "exec", self.names[host], "sh", "-ec", f"ip link set lo up; {script}")

    def _serve(self, host: str, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{host}.log").open("wb") as log:
            command = [str(SPARK / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}", *arguments]
            return self.start(host, *command, stdout=log, stderr=subprocess.STDOUT)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def hosts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Hosts]:
    """A driver's host with a master, and two workers of one core on hosts of their own; `request.param`: settings of Spark."""
    if missing := [name for name in ("ip", "unshare", "mount") if shutil.which(name) is None]:
        pytest.skip(f"network namespaces need {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("network namespaces are made by root alone")
    cluster = Hosts(tmp_path, getattr(request, "param", {}))
    try:
        try:
            cluster.up()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine makes no network namespaces: {error.stderr.strip()}")
        yield cluster
    finally:
        cluster.down()
