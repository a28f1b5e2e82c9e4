"""What becomes of a stage that sees its inputs at once: run, check its table, publish."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mimicmotion.errors import MachineError, MimicMotionError, StageError
from stages.engine.contract import Context, Dataset, DatasetStage, Item
from stages.engine.faults import is_machine_fault
from stages.engine.item_task import disk_full, is_disk_full, outcome_of
from stages.engine.keys import check_weights
from stages.engine.records import ItemState
from stages.engine.storage.opening import open_workspace
from stages.engine.storage.workspace import staged
from stages.engine.store import StageStore, check_schema

log = logging.getLogger(__name__)


@dataclass
class DatasetTask:
    """The work of a dataset stage, which is its only item.

    Attributes:
        stage: what to do.
        inputs: the datasets it reads.
        workspace_uri: where to publish.
        recipe_key: under which recipe.
        context: what the stage may use.
        fields: what the recipe key was made from; weights are read and compared with it.
    """

    stage: DatasetStage
    inputs: Mapping[str, Dataset]
    workspace_uri: str
    recipe_key: str
    context: Context
    fields: Mapping[str, Any]

    def run(self, item: Item, key: str) -> ItemState:
        """Run the stage and publish its only item.

        Raises:
            StageError: the disk is full, the stage broke its own schema, or it met a bug.
            MachineError: a disk or network failed.
            MimicMotionError: what the stage raised on purpose.
        """
        start_s = time.monotonic()
        name = self.stage.name
        workspace = open_workspace(self.workspace_uri)
        store = StageStore(workspace, name, self.recipe_key)
        try:
            with staged(workspace, store.top) as folder:
                check_weights(self.stage, self.fields)
                table = self.stage.run(self.inputs, folder, self.context)
                check_schema(name, self.stage.schema, table)
                record = store.keep(folder, item, key, table)
        except MimicMotionError as error:
            if isinstance(error, StageError) or not is_disk_full(error, workspace):
                raise
            raise disk_full(f"{name} stopped", workspace, error) from error
        except Exception as error:
            if is_disk_full(error, workspace):
                raise disk_full(f"{name} stopped", workspace, error) from error
            if isinstance(error, TimeoutError) and type(error) is not TimeoutError:
                raise  # a flow's time limit, for the flow to show
            log.exception("%s failed", name)
            kind = MachineError if is_machine_fault(error) else StageError
            raise kind(
                f"{name} stopped: {type(error).__name__}: {error}. The log has the traceback."
            ) from error
        return outcome_of(record, time.monotonic() - start_s)
