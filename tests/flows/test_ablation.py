"""The flow of an ablation on a real Prefect server, over fake stages."""

from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.usefixtures("prefect_server", "alone"),
]

CONFIG = """\
title: Fakes compared
workspace: space
train: {}
evaluate: {}
ablation:
  seeds: [3, 5]
  seed_fields: [train.seed]
  metrics: [psnr]
  arms:
    - {name: base}
    - {name: + gain, set: [train.gain=0.5]}
    - {name: + bonus, set: [evaluate.bonus=0.25]}
"""


def test_shared_stages_run_once_and_a_second_run_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fake_study import STAGES
    from prefect.artifacts import Artifact

    from flows import tasks
    from flows.ablation import ablation

    monkeypatch.setattr("stages.engine.config.STAGES", STAGES)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(CONFIG)
    ran = []
    real = tasks.run_stage

    def counted(*arguments, **more):
        ran.append(real(*arguments, **more))
        return ran[-1]

    monkeypatch.setattr(tasks, "run_stage", counted)
    first = ablation("study.yaml")
    own = ["train", "evaluate"]
    assert [result.name for result in ran] == [*own, *own, "evaluate", *own, *own, "evaluate"]
    assert {result.state for result in ran} == {"published"}
    assert "**+0.50" in first.markdown
    artifact = Artifact.get("ablation")
    assert artifact is not None
    assert artifact.data == first.markdown
    ran.clear()
    again = ablation("study.yaml")
    assert {result.state for result in ran} == {"fresh"}
    assert again.rows == first.rows
