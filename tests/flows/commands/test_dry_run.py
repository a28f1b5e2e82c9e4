import re
import time

import pytest

from flows.commands.dry_run import training_needs
from mimicmotion.errors import InputError
from stages.engine.config import load_config


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
