"""Models of comparisons: trained in a folder of their own, not registered, and not trained again."""

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


def trained_once(
    folder: Path,
    name: str,
    family: str,
    overrides: Sequence[str],
    inputs: TrainingInputs,
    settings: TrainingSettings,
    progress: Progress,
) -> Encoder:
    """The encoder that a note of this name in the folder stands for; it is trained where there is none yet.

    The name has to say all that tells the training from others in the folder.
    """
    note = folder / f"{quote(name, safe='')}.json"  # services may be called anything
    if not note.exists():
        model = train(family, overrides, inputs, settings.model_copy(update={"home": folder}), progress)
        write_whole(note, json.dumps({"artifact": model.artifact, "metrics": model.metrics}))
    return load_encoder(folder / json.loads(note.read_text())["artifact"])
