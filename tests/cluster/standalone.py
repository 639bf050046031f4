"""A standalone cluster of processes of this machine: a master and two workers of one core."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyspark

from hindcast.classical.hmm.saving import load as load_hmm
from hindcast.launch.spark.java import java_home, sharing_options
from tests.cluster.waiting import ended, until

SPARK = Path(pyspark.__file__).parent


class Standalone:
    """On the loopback address. Commands run in `folder`, where readings.csv and spec.toml lie."""

    def __init__(self, logs: Path, folder: Path) -> None:
        self.logs, self.folder, self.processes = logs, folder, dict[str, subprocess.Popen[bytes]]()
        self.earlier, self.drivers = set[int](), list[subprocess.Popen[str]]()
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
        before, port, self.page = self._said("New state: ALIVE"), self.url.rpartition(":")[2], _free_port()
        self._serve("master", "master.Master", "--port", port, "--webui-port", str(self.page))
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

    def kill_application(self) -> None:
        """The last one, as by its button on the master's page."""
        application = re.findall(r"Registered app .+ with ID (\S+)", (self.logs / "master.log").read_text())[-1]
        told = urllib.parse.urlencode({"id": application, "terminate": "true"}).encode()
        urllib.request.urlopen(f"http://127.0.0.1:{self.page}/app/kill/", told, timeout=30).close()

    def down(self) -> None:
        """Also drivers that a test left behind when it failed: they would wait for the next master."""
        for driver in self.drivers:
            driver.kill()
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

    @property
    def removed(self) -> int:
        """How many applications the master has ended, since their executors failed."""
        return self._said("failed 10 times; removing it")

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
        self.drivers.append(subprocess.Popen(command, cwd=self.folder, env=told, stdout=out, stderr=out, text=True))
        return self.drivers[-1]

    def assert_ends_well(self, driver: subprocess.Popen[str]) -> None:
        out, err = driver.communicate(timeout=400)
        assert driver.returncode == 0, out[-2000:] + err[-4000:]
        assert "whether executors are lost is not known" not in err

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
            found[:] = [one for one in new if any("hindcast.launch.spark.daemon" in _line(child) for child in _children(one.pid))]
            return bool(found)

        until(busy, f"an executor of worker {worker} works")
        os.kill(found[0].pid, signal.SIGKILL)

    def ranks(self) -> list[psutil.Process]:
        """The processes of Horovod's ranks on both workers."""
        every = [child for worker in ("one", "two") for child in _children(self.processes[worker].pid)]
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
            "JAVA_TOOL_OPTIONS": " ".join([os.environ["SPARK_SUBMIT_OPTS"], *sharing_options()]),
            **environment,
        }
        with (self.logs / f"{name}.log").open("ab") as out:
            self.processes[name] = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=told)


def executors(worker: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [child for child in _children(worker.pid) if "CoarseGrainedExecutorBackend" in _line(child)]


def _children(process: int) -> list[psutil.Process]:
    try:
        return psutil.Process(process).children(recursive=True)
    except psutil.Error:  # it has ended
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
