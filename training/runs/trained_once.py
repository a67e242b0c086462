"""Models of comparisons, which are not registered: each is trained once in the folder of its comparison."""

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from portrait.feature_repo.log.durable_files import write_whole
from portrait.registry.progress import Progress
from portrait.training.encoding.encoder import Encoder, load_encoder
from portrait.training.runs.run import train
from portrait.training.runs.training_inputs import TrainingInputs
from portrait.training.settings import TrainingSettings


def train_once(
    folder: Path,
    name: str,
    family: str,
    overrides: Sequence[str],
    inputs: TrainingInputs,
    settings: TrainingSettings,
    progress: Progress,
) -> Encoder:
    """The encoder that a note of this name in the folder points to; it is trained first where there is none.

    The name must differ from those of all other trainings in the folder.
    """
    note = folder / f"{quote(name, safe='')}.json"  # services may be called anything
    if not note.exists():
        model = train(family, overrides, inputs, settings.model_copy(update={"home": folder}), progress)
        write_whole(note, json.dumps({"artifact": model.artifact, "metrics": model.metrics}))
    return load_encoder(folder / json.loads(note.read_text())["artifact"])
