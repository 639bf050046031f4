"""A cluster whose workers are hosts of their own: what crosses between them crosses a network, and can be cut."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyspark
import pytest

from launch.session import java_home

SPARK = Path(pyspark.__file__).parent
DRIVER, WORKERS = "10.77.0.1", {"host1": "10.77.0.11", "host2": "10.77.0.12"}


class Hosts:
    """Network namespaces, joined by a bridge that lies in the driver's: the machine's own network is left as it is.

    Its name is eth0, as the workers' interfaces are called: Horovod wants one name on all hosts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, list[subprocess.Popen[bytes]]()
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
            self._serve(host, "worker.Worker", "--host", address, "--cores", "1", "--memory", "1g", self.master)
        log, limit = self.folder / "driver.log", time.monotonic() + 90
        while log.read_text().count("Registering worker") < len(WORKERS):
            assert time.monotonic() < limit, log.read_text()[-2000:]
            time.sleep(0.2)

    def start(self, host: str, *command: str, **options: object) -> subprocess.Popen[bytes]:
        """A process on a host, under its name."""
        script = 'hostname "$1"; mount --bind "$2" /etc/hosts; shift 2; exec "$@"'
        named = ["unshare", "-u", "-m", "sh", "-c", script, "sh", host, str(self.folder / "hosts"), *command]
        environment = {
            **os.environ,
            "JAVA_HOME": str(java_home()),
            "SPARK_HOME": str(SPARK),
            "SPARK_LOCAL_IP": {"driver": DRIVER, **WORKERS}[host],
            "SPARK_WORKER_DIR": str(self.folder / host),
            "SPARK_DAEMON_MEMORY": "256m",
            "JAVA_TOOL_OPTIONS": os.environ["SPARK_SUBMIT_OPTS"],
            "PYSPARK_PYTHON": sys.executable,
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        }
        process = subprocess.Popen(["ip", "netns", "exec", self.names[host], *named], env=environment, **options)  # type: ignore[call-overload]
        self.started.append(process)
        return process

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

    def _serve(self, host: str, kind: str, *arguments: str) -> None:
        with (self.folder / f"{host}.log").open("wb") as log:
            command = [str(SPARK / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}", *arguments]
            self.start(host, *command, stdout=log, stderr=subprocess.STDOUT)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """A driver's host with a master, and two workers of one core on hosts of their own."""
    if missing := [name for name in ("ip", "unshare", "mount") if shutil.which(name) is None]:
        pytest.skip(f"network namespaces need {', '.join(missing)}")
    if os.geteuid() != 0:
        pytest.skip("network namespaces are made by root alone")
    cluster = Hosts(tmp_path)
    try:
        try:
            cluster.up()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this machine makes no network namespaces: {error.stderr.strip()}")
        yield cluster
    finally:
        cluster.down()
