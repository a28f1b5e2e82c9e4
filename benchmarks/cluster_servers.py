"""Servers of a cluster on this machine, for scripts and tests: PostgreSQL, an S3 store, MLflow and Prefect.

All of them listen on 127.0.0.1, keep everything in one folder, and end with the block. ``install`` gets what
is missing: PostgreSQL by ``apt-get`` (as root on Debian), the store (moto's server, which keeps objects in
memory) into a virtual environment of its own below ``.cache``, and the drivers of the extra ``cluster``.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pyarrow.fs as pafs

from flows.commands.processes import LOOPBACK, Processes, free_port
from flows.servers import NO_JOBS

ROOT = Path(__file__).resolve().parents[1]
_STORE = ROOT / ".cache" / "servers"
_STORE_PACKAGE = "moto[server]==5.2.5"
_DRIVERS = ("boto3", "psycopg2")
_REGION = "us-east-1"


@dataclass(frozen=True)
class Cluster:
    """Where the servers are.

    Attributes:
        environment: variables of a process that uses them.
        query: what a workspace in the store ends with: ``s3://bucket/prefix?<query>``.
        database: address of PostgreSQL up to the name of a database, with the password.
    """

    environment: dict[str, str]
    query: str
    database: str


def postgres_folder() -> Path | None:
    """Folder of PostgreSQL's programs, the newest where there are several."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("pg_ctl")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def store_program() -> str | None:
    """The store's server, of the version that was installed for it: 5.2.1 answers long uploads wrongly."""
    own = _STORE / "bin" / "moto_server"
    return str(own) if own.exists() else None


def missing() -> list[str]:
    """What lacks, and how to get it; empty where everything is there."""
    lacking = []
    if postgres_folder() is None:
        lacking.append("PostgreSQL: apt-get install postgresql")
    if store_program() is None:
        lacking.append(f"an S3 server: {_STORE_PACKAGE} in a virtual environment {_STORE}")
    if not all(find_spec(name) for name in _DRIVERS):
        lacking.append("drivers: pip install -e '.[cluster]'")
    return lacking


def install() -> None:
    """Get what is missing. What cannot be got is still among ``missing()`` afterwards."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    if postgres_folder() is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _try(["apt-get", "update", "--quiet"])
        _try(["apt-get", "install", "--yes", "--quiet", "postgresql"])
    if store_program() is None:
        _try([sys.executable, "-m", "venv", str(_STORE)])
        _try([str(_STORE / "bin" / "python"), *pip[1:], _STORE_PACKAGE])
    if not all(find_spec(name) for name in _DRIVERS):
        _try([*pip, "--constraint", str(ROOT / "constraints.txt"), "boto3", "psycopg2-binary"])


def _try(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"{' '.join(command)} failed: {done.stderr.strip()[-300:]}", file=sys.stderr)


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Run the servers in a folder, with empty databases ``mlflow`` and ``prefect``, and two buckets.

    Raises:
        StageError: a server does not start; names its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with postgres(folder / "postgres") as database, Processes(folder / "logs") as processes:
        environment = {**os.environ, **_store_variables(), **NO_JOBS, "MLFLOW_DISABLE_TELEMETRY": "true"}
        store = f"{LOOPBACK}:{free_port()}"
        program = store_program()
        assert program is not None
        processes.start("store", [program, "-H", LOOPBACK, "-p", store.rpartition(":")[2]], environment)
        processes.wait_for("store", f"http://{store}/moto-api/")
        _create_buckets(store, environment)
        mlflow, prefect = f"http://{LOOPBACK}:{free_port()}", f"http://{LOOPBACK}:{free_port()}"
        environment |= {"MLFLOW_S3_ENDPOINT_URL": f"http://{store}", "DO_NOT_TRACK": "1"}
        of_prefect = {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_API_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{database}/prefect",
        }
        run = [sys.executable, "-m"]
        # Passwords go by the environment: everybody on a machine may read the arguments of a process.
        of_mlflow = {"MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg2://{database}/mlflow"}
        keep = [*_listening(mlflow), "--artifacts-destination=s3://mlflow", "--workers=1"]
        processes.start("mlflow", [*run, "mlflow", "server", *keep], environment | of_mlflow)
        serve = [*run, "prefect", "server", "start", *_listening(prefect)]
        processes.start("prefect", serve, environment | of_prefect)
        processes.wait_for("mlflow", f"{mlflow}/health")
        processes.wait_for("prefect", f"{prefect}/api/health")
        environment |= {"MLFLOW_TRACKING_URI": mlflow, "PREFECT_API_URL": f"{prefect}/api"}
        environment |= {
            "PREFECT_HOME": of_prefect["PREFECT_HOME"],
            "MIMICMOTION_CACHE": str(folder / "cache"),
        }
        query = f"endpoint_override={store}&scheme=http&region={_REGION}"
        yield Cluster(environment, query, database)


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run PostgreSQL; gives ``user:password@host:port``. Root runs it as the user ``postgres``."""
    programs = postgres_folder()
    assert programs is not None
    folder.mkdir()
    password = secrets.token_hex(16)
    secret = folder / "password"
    secret.write_text(password)
    as_user: list[str] = []
    if os.geteuid() == 0:
        as_user = ["runuser", "-u", "postgres", "--"]
        for path in (folder, secret):
            shutil.chown(path, "postgres")
        for parent in folder.parents[:-1]:  # the user must get there; the data itself stays its own
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 1:
                parent.chmod(parent.stat().st_mode | 0o011)
    secret.chmod(0o600)
    data, port = folder / "data", free_port()
    access = ["--auth=scram-sha-256", "--username=mimicmotion", f"--pwfile={secret}"]
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": "/"}
    subprocess.run([*as_user, programs / "initdb", "-D", data, "--encoding=UTF8", *access], **quiet)
    control = [*as_user, programs / "pg_ctl", "-D", data, "--wait"]
    options = f"-c listen_addresses={LOOPBACK} -c port={port} -c unix_socket_directories={folder}"
    subprocess.run([*control, "-l", folder / "log", "-o", options, "start"], **quiet)
    try:
        address = f"mimicmotion:{password}@{LOOPBACK}:{port}"
        for name in ("mlflow", "prefect"):
            query(address, "postgres", f"CREATE DATABASE {name}")
        yield address
    finally:
        subprocess.run([*control, "--mode=fast", "stop"], **quiet)


def query(address: str, database: str, text: str) -> list[tuple[object, ...]]:
    """Rows that PostgreSQL answers; empty for a command."""
    import psycopg2

    connection = psycopg2.connect(f"postgresql://{address}/{database}")
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(text)
            return list(cursor.fetchall()) if cursor.description else []
    finally:
        connection.close()


def _store_variables() -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "mimicmotion",
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
        "AWS_DEFAULT_REGION": _REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _create_buckets(store: str, environment: dict[str, str]) -> None:
    files = pafs.S3FileSystem(
        access_key=environment["AWS_ACCESS_KEY_ID"],
        secret_key=environment["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=store,
        scheme="http",
        region=_REGION,
        allow_bucket_creation=True,
    )
    for name in ("mimicmotion", "mlflow"):
        files.create_dir(name)


def _listening(address: str) -> list[str]:
    return ["--host", LOOPBACK, "--port", address.rpartition(":")[2]]
