"""A standalone cluster of hosts whose network can be cut: a driver's with a master, and two with a worker of one core."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from hindcast.launch.spark.java import java_home, sharing_options
from tests.cluster.standalone import SPARK
from tests.cluster.waiting import until

DRIVER, WORKERS = "10.77.0.1", {"host1": "10.77.0.11", "host2": "10.77.0.12"}
ADDRESSES = {"driver": DRIVER, **WORKERS}


class Hosts:
    """Network namespaces, joined by a bridge that lies in the driver's: the machine's own network is left as it is.

    Its name is eth0, as the workers' interfaces are called: Horovod wants one name on all hosts.
    """

    def __init__(self, folder: Path, conf: Mapping[str, str] = MappingProxyType({}), master: str = "driver") -> None:
        """`conf`: settings of Spark. `master`: the host that the master is on."""
        self.folder, self.started = folder, list[subprocess.Popen[bytes]]()
        self.workers = dict[str, subprocess.Popen[bytes]]()
        # Not in a spark-defaults.conf: a folder of settings is on the class path, which would be another than the archive's.
        settings = [f"-D{key}={value}" for key, value in conf.items()]
        self.java = " ".join([os.environ["SPARK_SUBMIT_OPTS"], *sharing_options(), *settings])
        self.names = {name: f"hindcast-{os.getpid()}-{name}" for name in ADDRESSES}
        self.masters_host, self.master = master, f"spark://{ADDRESSES[master]}:7077"

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
        table = "".join(f"{address} {host}\n" for host, address in {"localhost": "127.0.0.1", **ADDRESSES}.items())
        (self.folder / "hosts").write_text(table)
        place = ("--host", ADDRESSES[self.masters_host], "--port", "7077", "--webui-port", "8180")
        self._serve(self.masters_host, "master", "master.Master", *place)
        for host, address in WORKERS.items():
            memory = ("--cores", "1", "--memory", "1g")
            self.workers[host] = self._serve(host, host, "worker.Worker", "--host", address, *memory, self.master)
        log = self.folder / "master.log"
        until(lambda: all(f"Registering worker {address}:" in log.read_text() for address in WORKERS.values()), "workers are up")

    def start(self, host: str, *command: str, **options: object) -> subprocess.Popen[bytes]:
        """A process on a host, under its name."""
        script = 'hostname "$1"; mount --bind "$2" /etc/hosts; shift 2; exec "$@"'
        named = ["unshare", "-u", "-m", "sh", "-c", script, "sh", host, str(self.folder / "hosts"), *command]
        environment = {
            **os.environ,
            "JAVA_HOME": str(java_home()),
            "SPARK_HOME": str(SPARK),
            "SPARK_LOCAL_IP": ADDRESSES[host],
            "SPARK_WORKER_DIR": str(self.folder / host),
            "SPARK_LOCAL_DIRS": str(self.disk(host)),
            "SPARK_DAEMON_MEMORY": "256m",
            "JAVA_TOOL_OPTIONS": self.java,
            "PYSPARK_PYTHON": sys.executable,
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        }
        process = subprocess.Popen(["ip", "netns", "exec", self.names[host], *named], env=environment, **options)  # type: ignore[call-overload]
        self.started.append(process)
        return process

    def disk(self, host: str) -> Path:
        """Where its executors keep what they work out."""
        return self.folder / f"{host}.local"

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

    def _serve(self, host: str, log_name: str, kind: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{log_name}.log").open("wb") as log:
            command = [str(SPARK / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}", *arguments]
            return self.start(host, *command, stdout=log, stderr=subprocess.STDOUT)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
