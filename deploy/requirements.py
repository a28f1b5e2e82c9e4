"""Print what this project needs with some extras, a package a line: ``python deploy/requirements.py dev``.

pip checks hashes of packages, never of a checkout: so these are installed first, and then the checkout alone.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
extras = [line for extra in sys.argv[1:] for line in project["optional-dependencies"][extra]]
print("setuptools", *project["dependencies"], *extras, sep="\n")
