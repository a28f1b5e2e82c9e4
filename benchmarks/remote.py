"""The demo twice: in a local folder, and as on a cluster. Both must end with the same keys.

``python benchmarks/remote.py --install`` gets PostgreSQL and an S3 server where they are missing and takes
two demos' time; ``--small`` takes the least of dancers and steps. The second run keeps its workspace on
``s3://``, MLflow and Prefect keep theirs in PostgreSQL, MLflow's files go to the store. Prints the keys of
each stage, the seconds, what lies where, and where a password of the servers can be read, which must be
nowhere; exit code 1 where a key differs, 77 where a server is missing and cannot be installed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pyarrow.fs as pafs
from cluster_servers import Cluster, cluster, install, missing, query
from small_rebuild import OVERRIDES, ROOT, keys, render, write_config

from stages.engine.config import load_config

_SKIPPED = 77
_REBUILD = "from flows.cli import main; main()"


def rebuild(config: Path, environment: dict[str, str], log: Path) -> float:
    """Seconds that ``mimicmotion rebuild CONFIG`` takes; ends this process where it fails."""
    start_s = time.monotonic()
    with log.open("wb") as output:
        command = [sys.executable, "-c", _REBUILD, "rebuild", str(config)]
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    if done.returncode:
        sys.exit(f"{config} failed:\n{log.read_text()[-4000:]}")
    return time.monotonic() - start_s


def stored(there: Cluster, workspace: str) -> dict[str, object]:
    """What the servers hold after the run: rows of PostgreSQL, objects of the store."""
    ((runs,),) = query(there.database, "mlflow", "SELECT count(*) FROM runs WHERE status = 'FINISHED'")
    ((metrics,),) = query(there.database, "mlflow", "SELECT count(*) FROM metrics")
    states = query(there.database, "prefect", "SELECT state_type::text, count(*) FROM flow_run GROUP BY 1")
    held: dict[str, object] = {"MLflow runs": runs, "metrics": metrics, "Prefect flow runs": dict(states)}
    for name, uri in (("workspace", workspace), ("MLflow", f"s3://mlflow?{there.query}")):
        files, prefix = pafs.FileSystem.from_uri(uri)
        found = files.get_file_info(pafs.FileSelector(prefix, recursive=True))
        objects = [info for info in found if info.type == pafs.FileType.File]
        held[f"objects of {name}"] = len(objects)
        held[f"MB of {name}"] = round(sum(info.size for info in objects) / 1e6, 1)
    return held


def leaks(there: Cluster, folder: Path) -> list[str]:
    """Where a password of the servers can be read: files of the run, objects of the store, processes."""
    words = [there.database.rpartition("@")[0].partition(":")[2], there.environment["AWS_SECRET_ACCESS_KEY"]]
    secret = re.compile("|".join(words).encode())
    own = folder / "servers" / "postgres" / "password"
    files = [path for path in folder.rglob("*") if path.is_file() and path != own]
    found = [str(path) for path in files if secret.search(path.read_bytes())]
    store, _ = pafs.FileSystem.from_uri(f"s3://mimicmotion?{there.query}")
    for bucket in ("mimicmotion", "mlflow"):
        for info in store.get_file_info(pafs.FileSelector(bucket, recursive=True)):
            if info.is_file and secret.search(store.open_input_file(info.path).read()):
                found.append(info.path)
    running = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    return found + [command[0] for command in running if secret.search(" ".join(command).encode())]


def main() -> None:
    """Run both, print a table, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--install", action="store_true", help="get servers that are missing")
    parser.add_argument("--small", action="store_true", help="the least of dancers and steps")
    options = parser.parse_args()
    if options.install:
        install()
    if lacking := missing():
        print(f"skipped, {'; '.join(lacking)}", file=sys.stderr)
        sys.exit(_SKIPPED)
    folder = Path(tempfile.mkdtemp(prefix="remote-"))  # kept where a run fails, for its logs
    overrides = OVERRIDES if options.small else ()
    render(folder / "dancers", *(() if options.small else (4, 4, 36)))
    local, remote = folder / "local.yaml", folder / "remote.yaml"
    write_config(local, folder / "dancers", str(folder / "local"), overrides)
    free = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    seconds = {"local": rebuild(local, free, folder / "local.log")}
    with cluster(folder / "servers") as there:
        workspace = f"s3://mimicmotion/demo?{there.query}"
        write_config(remote, folder / "dancers", workspace, overrides)
        seconds["remote"] = rebuild(remote, there.environment, folder / "remote.log")
        os.environ |= there.environment
        seconds["remote, again"] = rebuild(remote, there.environment, folder / "again.log")
        here, held = keys(load_config(local)), stored(there, workspace)
        held["passwords readable in"] = leaks(there, folder)
        away = keys(load_config(remote))
    print("| stage | recipe key | dataset key | the same remotely |\n|---|---|---|---|")
    for stage, (recipe, dataset) in here.items():
        print(f"| `{stage}` | `{recipe}` | `{dataset}` | {'yes' if away[stage] == here[stage] else 'NO'} |")
    print(json.dumps({"seconds": {name: round(value) for name, value in seconds.items()}, **held}))
    shutil.rmtree(folder)
    if away != here or held["passwords readable in"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
