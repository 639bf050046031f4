"""`hindcast submit`: a command of Hindcast's through the user's own spark-submit, which carries the code to the cluster."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import hindcast
from hindcast.launch.command_table import COMMANDS
from hindcast.launch.spark.java import driver_java_conf, java_home
from hindcast.launch.spark.session import OWN_ADDRESS
from hindcast.launch.submitting.environment import pack_environment
from hindcast.launch.submitting.package import write_package
from hindcast.launch.watching.progress import Progress, console
from hindcast.launch.watching.redaction import NO_SECRET, SECRET
from hindcast.prep.errors import InputError

IN_JAVA_OPTIONS = re.compile(r"-D([^=\s]+)=")
# Options of spark-submit's that are settings.
SHORT = {
    "--master": "spark.master", "--deploy-mode": "spark.submit.deployMode",
    "--driver-java-options": "spark.driver.extraJavaOptions",
}  # fmt: skip
# Where an environment is unpacked, beside each executor and, in cluster mode, the driver.
UNPACKED = "environment"


def submit(options: Sequence[str], command: Sequence[str], environment: bool, show: bool, progress: Progress) -> None:
    """Replaces this process by `spark-submit OPTIONS … COMMAND …`; with `show` it prints that instead.

    environment   whether this Python environment is sent along

    Raises InputError where there is no spark-submit, for an unknown command, and for a secret on the command line.
    """
    must_be_command(command)
    must_hold_no_secret(options)
    program = spark_submit()
    packed = None
    if environment:
        with progress.stage("packing the environment"):
            packed = pack_environment()
    arguments = [str(program), *arguments_of(options, command, write_package(), packed)]
    if show:
        console.print(shlex.join(arguments), soft_wrap=True, highlight=False, markup=False)
        return
    variables = {**os.environ, "JAVA_HOME": str(java_home())}
    if spark_properties(options).get("spark.master", "local").startswith("local"):
        variables.setdefault(*OWN_ADDRESS)
    # Signals and the exit status are spark-submit's from here on.
    os.execve(program, arguments, variables)


def arguments_of(options: Sequence[str], command: Sequence[str], package: Path, environment: Path | None) -> list[str]:
    """The arguments of spark-submit: the user's options, the code, the environment, and the command.

    In client mode the driver runs here, in this Python. In cluster mode it runs on another machine: settings files of the
    command are then sent along, and the command names them without their folders. Raises InputError where two of them have one
    name, and for cluster mode on a standalone cluster.
    """
    properties = spark_properties(options)
    cluster_mode = properties.get("spark.submit.deployMode") == "cluster"
    if cluster_mode and properties.get("spark.master", "").startswith("spark://"):
        raise InputError(
            "--deploy-mode cluster: a standalone cluster runs no drivers in Python; leave it out, or use YARN or Kubernetes"
        )
    words, files = list(options), []
    if cluster_mode:
        settings_files = {word: word.rpartition("=")[2] for word in command if word.endswith(".toml")}
        files = [path for path in dict.fromkeys(settings_files.values()) if Path(path).is_file()]
        if len({Path(path).name for path in files}) < len(files):
            raise InputError(f"{', '.join(files)}: are sent to the driver by their names alone, which must differ: rename one")
        command = [
            word.replace(settings_files[word], Path(word).name) if settings_files.get(word) in files else word for word in command
        ]
    words = with_list_option(words, "--py-files", [str(package)])
    words = with_list_option(words, "--files", files)
    conf: dict[str, str] = {}
    if not cluster_mode:
        conf["spark.pyspark.driver.python"] = sys.executable
        conf |= driver_java_conf()
    if environment is not None:
        words = with_list_option(words, "--archives", [f"{environment}#{UNPACKED}"])
        conf["spark.pyspark.python"] = f"./{UNPACKED}/bin/python"
    elif not cluster_mode:
        conf["spark.pyspark.python"] = os.environ.get("PYSPARK_PYTHON", sys.executable)
    for key, value in conf.items():
        if key not in properties:
            words += ["--conf", f"{key}={value}"]
    return [*words, str(Path(hindcast.__file__).with_name("__main__.py")), *command]


def with_list_option(options: Sequence[str], name: str, more: Sequence[str]) -> list[str]:
    """The options with `more` added to the comma-separated list that `name` has."""
    if not more:
        return list(options)
    rest, values = [], list[str]()
    words = iter(options)
    for word in words:
        key, equals, value = word.partition("=")
        if key == name:
            values.append(value if equals else next(words, ""))
        else:
            rest.append(word)
    return [*rest, name, ",".join([*values, *more])]


def option_value(options: Sequence[str], name: str) -> str | None:
    """The value of an option, `--name value` or `--name=value`; the last one, where there are several."""
    value = None
    for number, word in enumerate(options):
        key, equals, text = word.partition("=")
        if key == name:
            value = text if equals else next(iter(options[number + 1 :]), None)
    return value


def spark_properties(options: Sequence[str]) -> dict[str, str]:
    """The properties of a submission: those of the file (--properties-file, or else Spark's own defaults) and, above them, those
    of the command line."""
    file_name = option_value(options, "--properties-file")
    home = os.environ.get("SPARK_HOME")
    folder = os.environ.get("SPARK_CONF_DIR") or (Path(home) / "conf" if home else None)
    file = Path(file_name) if file_name else Path(folder) / "spark-defaults.conf" if folder else None
    properties: dict[str, str] = {}
    if file is not None and file.is_file():
        for line in file.read_text(encoding="utf-8").splitlines():
            if match := re.match(r"\s*([^#!\s=:]+)\s*[=:\s]\s*(.*)", line):
                properties[match[1]] = match[2].strip()
    words = list(options)
    for number, word in enumerate(words):
        text = words[number + 1] if word == "--conf" and number + 1 < len(words) else word.removeprefix("--conf=")
        if word.startswith("--conf"):
            key, _, properties[key] = text.partition("=")
    for name, key in SHORT.items():
        if (value := option_value(options, name)) is not None:
            properties[key] = value
    return properties


def must_be_command(command: Sequence[str]) -> None:
    names = [name for name, entry in COMMANDS.items() if entry.works]
    if not command or command[0] not in names:
        problem = f"found {command[0]!r}" if command else "found nothing"
        raise InputError(
            f"submit: {problem} after --, expected a command ({', '.join(names)}): hindcast submit --master spark://host:7077 "
            "-- fit hmm /shared/fleet.seq --out /shared/fleet.hmm"
        )


def must_hold_no_secret(options: Sequence[str]) -> None:
    for name in secrets_in(options):
        raise InputError(
            f"{name}: everybody on this machine can read a command line. Put it into a file that is yours alone, and give that "
            "file to spark-submit by --properties-file"
        )


def secrets_in(options: Sequence[str]) -> list[str]:
    """The keys of settings and of Java's properties that sound like secrets."""
    secrets = []
    for word in options:
        key, equals, value = word.removeprefix("--conf=").partition("=")
        names = [key, *IN_JAVA_OPTIONS.findall(value)] if equals else []
        secrets += [name for name in names if SECRET.search(name) and not NO_SECRET.match(name)]
    return secrets


def spark_submit() -> Path:
    """The program: that of SPARK_HOME, else the one on the PATH, else that of the pyspark here. Raises InputError for none."""
    home = os.environ.get("SPARK_HOME")
    if home is not None:
        program = Path(home) / "bin" / "spark-submit"
        if not program.is_file():
            raise InputError(f"SPARK_HOME={home}: there is no bin/spark-submit in it; unset it, or name a Spark's folder")
        return program
    path = shutil.which("spark-submit") or shutil.which("spark-submit", path=str(Path(sys.executable).parent))
    if path is None:
        raise InputError("no spark-submit: neither SPARK_HOME nor the PATH leads to one, and pyspark brought none")
    return Path(path)
