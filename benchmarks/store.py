"""Measures the bookkeeping of many items: planning, status, publishing a dataset; none of their work.

``python benchmarks/store.py --items 100000 --folder /tmp/store``

The items are published first, by one process, which a real run spreads over its workers.
"""

import argparse
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from stages.engine.config import PipelineConfig, Settings
from stages.engine.contract import Dataset, Item, ItemStage
from stages.engine.item_task import ItemTask
from stages.engine.plan import StageGraph
from stages.engine.status import status
from stages.runner import run_stage

SCHEMA = pa.schema([("number", pa.int64())])


class Many(ItemStage):
    """Items that need no work."""

    name: ClassVar[str] = "many"
    version: ClassVar[int] = 1
    schema: ClassVar[pa.Schema] = SCHEMA

    count: int

    def items(self, inputs: Mapping[str, Dataset]) -> Iterator[Item]:
        """One item per number."""
        for number in range(self.count):
            yield Item(f"v{number:07d}", {"number": str(number)}, {"number": number}, f"video {number}.mp4")

    def process(self, loaded: None, item: Item, folder: Path) -> pa.Table:
        """One row."""
        return pa.table({"number": [item.payload["number"]]}, schema=SCHEMA)


def main() -> None:
    """Print seconds and peak memory of each step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=Path("workspace/benchmark-store"))
    arguments = parser.parse_args()
    shutil.rmtree(arguments.folder, ignore_errors=True)
    settings = Settings(workspace=str(arguments.folder.absolute()))
    config = PipelineConfig("many", "many.yaml", settings, {"many": Many(count=arguments.items)})
    measure("publish every item, one process", lambda: publish_items(config))
    measure("find all done, publish the dataset", lambda: run_stage(config, "many"))
    measure("run again", lambda: run_stage(config, "many"))
    measure("status", lambda: status(config))


def publish_items(config: PipelineConfig) -> None:
    """What workers would do."""
    plan = StageGraph(config).plan("many")
    stage = plan.stage
    assert isinstance(stage, ItemStage)
    task = ItemTask(stage, config.workspace, plan.store.recipe_key)
    for item, key in plan.work:
        task.run(item, key)


def measure(what: str, work: Callable[[], object]) -> None:
    """Run and print."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    print(f"{what}: {wall_s:.1f} s ({cpu_s:.1f} s of CPU), peak {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
