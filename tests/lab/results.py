"""Where the long tests leave their figures, for people and for `docs`.

Map:
    record(name, figures)    into build/lab/NAME.json
"""

import json
from pathlib import Path
from typing import Any

from tests.demo.processes import REPOSITORY

DIRECTORY = REPOSITORY / "build" / "lab"


def record(name: str, figures: Any) -> Path:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    file = DIRECTORY / f"{name}.json"
    file.write_text(json.dumps(figures, indent=1) + "\n")
    return file
