"""The imports of `portrait serve`: Feast and torch are loaded by its processes only, side by side."""

import subprocess
import sys


def test_who_starts_the_gateway_and_its_shards_loads_neither_feast_nor_torch() -> None:
    code = (
        "import portrait.serving.running, portrait.serving.gateway.deployment, portrait.serving.refresh.actors, sys; "
        "print(sorted({'feast', 'torch', 'sklearn'} & sys.modules.keys()))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
