from __future__ import annotations

import io
import os
import shlex
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

import hindcast.launch.submitting.submit as submit_
from hindcast.launch.spark.java import archive_place
from hindcast.launch.submitting.package import own_folder, package, write_package
from hindcast.launch.submitting.submit import arguments_of, option_value, with_list_option
from hindcast.launch.watching.progress import Progress
from hindcast.prep.errors import InputError

ROOT = Path(__file__).resolve().parents[4]
MAIN = str(ROOT / "hindcast" / "__main__.py")
FOLDERS = ("prep", "forecasting", "classical", "deep", "launch")
FIT = ["fit", "hmm", "a.seq", "--out", "a.hmm", "--hmm.states", "3"]


def names(data: bytes) -> set[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert not archive.testzip()
        return set(archive.namelist())


def test_the_package_holds_all_of_the_code(tmp_path: Path) -> None:
    code = {f"hindcast/{path.relative_to(ROOT).as_posix()}" for name in FOLDERS for path in (ROOT / name).rglob("*.py")}
    code |= {"hindcast/__init__.py", "hindcast/__main__.py"}
    beside, report = names(package()) - code, ROOT / "forecasting" / "report"
    assert code <= names(package())
    assert beside == {
        "hindcast/prep/spark/discover_gpus", "hindcast/launch/spark/log4j2.properties",
        *(f"hindcast/{path.relative_to(ROOT).as_posix()}" for kind in ("html", "css") for path in report.rglob(f"*.{kind}")),
    }  # fmt: skip


def test_the_package_holds_nothing_but_code(tmp_path: Path) -> None:
    beside = (".env", ".git/config", "prep/.env", "prep/data.csv", "prep/__pycache__/a.pyc", "launch/id_rsa", "tests/a.py")
    for name in ("prep/a.py", *beside):
        folder = tmp_path if name.startswith("tests") else tmp_path / "hindcast"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    assert names(package(tmp_path / "hindcast")) == {"hindcast/prep/a.py"}


def test_the_same_code_makes_the_same_package_and_it_runs_alone(tmp_path: Path) -> None:
    path = write_package(tmp_path)
    assert write_package(tmp_path) == path
    assert list(tmp_path.iterdir()) == [path]
    code = (
        "import hindcast.prep.spec, hindcast.launch.cli.commands; from hindcast.forecasting.report.page_template import source; "
        "print(hindcast.prep.__file__, source('page.css'))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path.name}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert path.name in ran.stdout.split()[0]
    assert "{" in ran.stdout


def test_the_package_lies_where_nobody_else_can_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = own_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    with pytest.raises(InputError, match="nobody else can write to"):
        own_folder()
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(InputError, match="must be a folder that is yours"):
        own_folder()


def test_what_lies_in_the_packages_place_is_taken_only_where_it_is_the_package(tmp_path: Path) -> None:
    path = write_package(tmp_path)
    data = path.read_bytes()
    path.rename(tmp_path / "victim")
    path.symlink_to("victim")
    write_package(tmp_path)
    assert (path.is_symlink(), path.read_bytes()) == (False, data)
    path.write_bytes(b"of somebody")
    assert write_package(tmp_path).read_bytes() == data
    assert (tmp_path / "victim").read_bytes() == data
    assert len(list(tmp_path.iterdir())) == 2


def test_in_client_mode_the_driver_runs_in_this_python() -> None:
    found = arguments_of(["--master", "spark://h:7077", "--conf", "spark.executor.memory=2g"], FIT, Path("/p/h.zip"), None)
    assert found[:4] == ["--master", "spark://h:7077", "--conf", "spark.executor.memory=2g"]
    assert option_value(found, "--py-files") == "/p/h.zip"
    assert f"spark.pyspark.driver.python={sys.executable}" in found
    assert found[found.index(MAIN) :] == [MAIN, *FIT]


def test_in_cluster_mode_settings_files_go_along(tmp_path: Path) -> None:
    spec = tmp_path / "spec.toml"
    spec.write_text("")
    options = ["--master", "yarn", "--deploy-mode=cluster", "--py-files", "mine.zip", "--files=mine.txt"]
    found = arguments_of(options, ["prep", str(spec), "s3://b/a.seq"], Path("/p/h.zip"), Path("/p/e.tar.gz"))
    assert option_value(found, "--py-files") == "mine.zip,/p/h.zip"
    assert option_value(found, "--files") == f"mine.txt,{spec}"
    assert option_value(found, "--archives") == "/p/e.tar.gz#environment"
    assert "spark.pyspark.python=./environment/bin/python" in found
    assert not any("driver.python" in word for word in found)
    assert found[-3:] == ["prep", "spec.toml", "s3://b/a.seq"]


@pytest.mark.parametrize("given", [["--conf", "spark.pyspark.python=/x"], ["--conf=spark.pyspark.python=/x"]])
def test_what_the_user_says_is_not_said_again(given: list[str]) -> None:
    found = arguments_of(given, FIT, Path("/p/h.zip"), None)
    assert sum("spark.pyspark.python=" in word for word in found) == 1


@pytest.mark.parametrize(
    "key",
    [
        "spark.hadoop.fs.s3a.aws.credentials.provider", "spark.kubernetes.driver.secrets.name",
        "spark.security.credentials.hive.enabled", "spark.hadoop.fs.azure.account.oauth2.client.secret.file",
    ],
)  # fmt: skip
def test_what_only_sounds_like_a_secret_passes(key: str) -> None:
    assert submit_.secrets_in(["--conf", f"{key}=x", f"--conf={key}=x"]) == []
    assert submit_.secrets_in(["--conf", f"{key}=-Da.password=x"]) == ["a.password"]


@pytest.mark.parametrize("how", ["option", "defaults"])
def test_what_a_file_of_properties_says_is_left_alone(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spark-defaults.conf").write_text(
        "# mine\nspark.pyspark.python  /opt/python\nspark.driver.extraJavaOptions=-Da=b\n"
    )
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path if how == "defaults" else tmp_path / "none"))
    options = ["--properties-file", str(tmp_path / "spark-defaults.conf")] if how == "option" else []
    found = arguments_of(options, FIT, Path("/p/h.zip"), None)
    assert [word for word in found if word.startswith("spark.")] == [f"spark.pyspark.driver.python={sys.executable}"]


def test_settings_files_of_one_name_cannot_both_go_along(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "s.toml").write_text("")
    options, one = ["--conf", "spark.submit.deployMode=cluster"], f"--settings={tmp_path}/a/s.toml"
    assert arguments_of(options, ["fit", one], Path("/p/h.zip"), None)[-2:] == ["fit", "--settings=s.toml"]
    with pytest.raises(InputError, match="must differ"):
        arguments_of(options, ["fit", one, f"{tmp_path}/b/s.toml"], Path("/p/h.zip"), None)


def test_settings_stand_where_the_command_stands() -> None:
    command = [sys.executable, "-m", "hindcast", "--debug", "submit", "--show"]
    ran = subprocess.run([*command, "--", *FIT], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert shlex.split(ran.stdout)[-len(FIT) :] == FIT
    ran = subprocess.run([*command, "--lstm.epochs", "9", "--", *FIT], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 2
    assert "--lstm.epochs: `hindcast submit` has no settings: put it behind --" in ran.stderr


def test_lists_are_joined() -> None:
    assert with_list_option(["--jars", "a", "--files", "b", "-v"], "--files", ["c", "d"]) == [
        "--jars",
        "a",
        "-v",
        "--files",
        "b,c,d",
    ]
    assert with_list_option(["--files=b"], "--files", []) == ["--files=b"]


@pytest.mark.parametrize(
    ("options", "command", "said"),
    [
        ([], [], "found nothing after --, expected a command"),
        ([], ["fly"], "found 'fly' after --"),
        (["--conf", "spark.authenticate.secret=s3cr3t"], FIT, "spark.authenticate.secret: everybody .* --properties-file$"),
        (["--conf=spark.hadoop.fs.s3a.access.key=AKIA"], FIT, "spark.hadoop.fs.s3a.access.key: everybody"),
        (["--conf", "spark.ssl.keyStorePassword=s3cr3t"], FIT, "spark.ssl.keyStorePassword: everybody"),
        (["--conf", "spark.hadoop.fs.azure.account.key.x.net=s3cr3t"], FIT, "account.key.x.net: everybody"),
        (
            ["--conf", "spark.executor.extraJavaOptions=-Da=b -Djavax.net.ssl.trustStorePassword=s3cr3t"],
            FIT,
            "^javax.* everybody",
        ),
        (["--conf", "spark.submit.deployMode=cluster", "--conf=spark.master=spark://h:1"], FIT, "runs no drivers in Python"),
        (["--master", "spark://h:7077", "--deploy-mode", "cluster"], FIT, "runs no drivers in Python"),
    ],
)
def test_what_cannot_be_submitted_is_said_in_a_line(options: list[str], command: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        submit_.submit(options, command, environment=False, show=True, progress=Progress())
    assert "\n" not in str(raised.value)
    assert "s3cr3t" not in str(raised.value)
    assert "AKIA" not in str(raised.value)


@pytest.mark.parametrize("how", ["home", "path"])
def test_it_becomes_the_users_own_spark_submit(how: str, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "spark-submit"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 7\n')
    program.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("SPARK_HOME", None)
    environment |= (
        {"SPARK_HOME": str(tmp_path)} if how == "home" else {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    )
    command = [sys.executable, "-m", "hindcast", "submit", "--master", "yarn", "--", *FIT, "--debug"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 7, "the exit status is spark-submit's"
    words = ran.stdout.splitlines()
    assert words[:2] == ["--master", "yarn"]
    assert words[words.index(MAIN) + 1 :] == [*FIT, "--debug"]
    shown = subprocess.run([*command[:4], "--show", *command[4:]], env=environment, capture_output=True, text=True, timeout=300)
    assert shlex.split(shown.stdout) == [str(program), *words]


def test_a_spark_home_without_spark_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    with pytest.raises(InputError, match="there is no bin/spark-submit in it"):
        submit_.spark_submit()


def test_an_environment_that_cannot_be_packed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "venv_pack", None)
    with pytest.raises(InputError, match="packed by venv-pack, which is missing: pip install venv-pack"):
        submit_.pack_environment()
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    with pytest.raises(InputError, match="neither a virtual environment nor one of conda's"):
        submit_.pack_environment()


def test_what_java_has_archived_here_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True, timeout=300)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    archive_place().parent.mkdir(parents=True)
    archive_place().write_bytes(b"")
    with tarfile.open(submit_.pack_environment()) as packed:
        found = set(packed.getnames())
    assert "bin/activate" in found
    assert archive_place().relative_to(sys.prefix).as_posix() not in found
