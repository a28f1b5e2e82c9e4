"""docs/recipe.md names every hyper-parameter of training, and says what the configs say."""

import re
from pathlib import Path

import pytest

from mimicmotion.pose.settings import DrawingStyle
from mimicmotion.settings import Section
from mimicmotion.training.settings import DistillationSettings, TrainingSettings
from stages.engine.config import load_config
from stages.engine.contract import Runtime
from stages.train import Train, TrainRuntime

RECIPE = (Path(__file__).parents[1] / "docs" / "recipe.md").read_text(encoding="utf-8")
GENERAL = set(Runtime.model_fields)


def rows() -> dict[str, str]:
    """The second column of every table row, by each field that its first column names."""
    found: dict[str, str] = {}
    for line in RECIPE.split("## What it costs")[0].splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) < 4:
            continue
        names = re.findall(r"`([a-z_.]+)`", cells[1])
        folder = names[0].rpartition(".")[0] if names else ""
        found |= {name if "." in name else f"{folder}.{name}": cells[2] for name in names}
    return found


@pytest.mark.parametrize(
    ("prefix", "section", "elsewhere"),
    [
        ("train", Train, {"runtime", "drawing"}),
        ("train.drawing", DrawingStyle, set()),
        ("train.runtime", TrainRuntime, GENERAL - {"workers"}),
        ("distill", DistillationSettings, set(TrainingSettings.model_fields) - {"noise", "dropout"}),
    ],
)
def test_every_field_of_training_stands_in_the_recipe(
    prefix: str, section: type[Section], elsewhere: set[str]
) -> None:
    wanted = {f"{prefix}.{name}" for name in set(section.model_fields) - elsewhere}
    assert wanted - rows().keys() == set()


def test_no_row_names_a_field_that_is_gone() -> None:
    config = load_config("paper-distilled")
    for name in rows():
        value = config.stages[name.split(".")[0]]
        for part in name.split(".")[1:]:
            value = getattr(value, part)


def test_the_numbers_of_the_recipe_are_those_of_the_config() -> None:
    train = load_config("paper").stages["train"]
    assert isinstance(train, Train)
    numbers = {name: re.match(r"[\d.e-]+$", text) for name, text in rows().items()}
    for name, number in numbers.items():
        if number and name.startswith("train."):
            value = train
            for part in name.split(".")[1:]:
                value = getattr(value, part)
            assert float(number[0]) == value, name


def test_the_tests_that_the_recipe_names_are_there() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", RECIPE)
    assert len(named) >= 14
    assert [name for name in named if f"def {name}(" not in sources] == []
