import re
import time

import pytest

from flows.commands.dry_run import num_steps, published_samples, training_needs
from flows.commands.needs import find_films, reckon
from mimicmotion.errors import InputError, WeightsError
from stages.engine.config import load_config
from stages.engine.plan import StageGraph


def test_the_papers_training_fits_its_gpus_and_is_reckoned_quickly():
    started_s = time.process_time()
    text = training_needs(load_config("paper"), 50_000, "A100")
    assert time.process_time() - started_s < 60
    assert "1,524.8 M" in text
    assert "125,000 steps of 8 samples" in text
    memory = re.search(r"memory per worker +([0-9.]+) GB", text)
    assert 5 < float(memory[1]) < 40


def test_an_unknown_gpu_and_lacking_sections_are_named():
    with pytest.raises(InputError, match="'Abacus' is not known; known are A100"):
        training_needs(load_config("paper"), 1, "Abacus")


def test_clips_that_are_published_are_the_samples_of_the_table_too():
    config = load_config("paper")
    films = find_films(config, 4436, 20.0)
    by_films, by_clips = (
        next(one for one in reckon(config, films, "A100", samples) if one.stage == "train")
        for samples in (None, 2000)
    )
    assert by_clips.items == num_steps(config.stages["train"], 2000)
    assert by_clips.items < by_films.items


def test_weights_that_are_still_to_be_fetched_hide_no_estimate(monkeypatch):
    def dataset(self, name):
        raise WeightsError("pose.detector: there is no file or folder")

    monkeypatch.setattr(StageGraph, "dataset", dataset)
    assert published_samples(load_config("paper")) is None
