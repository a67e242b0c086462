"""Modalities that the user brings: columns `vector_<modality>` of the catalogue, taken as they are."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portrait.registry.errors import InvalidInput
from portrait.training.modality import Modality

PREFIX = "vector_"


def ready_modalities(catalogue: pa.Table, codes: np.ndarray, items: int) -> list[Modality]:
    """One modality a column; row i of the catalogue is item `codes[i]`.

    Raises InvalidInput when the vectors of a column have several lengths or are not finite.
    """
    columns = sorted(name for name in catalogue.column_names if name.startswith(PREFIX))
    found = (_modality(name, catalogue[name].combine_chunks(), codes, items) for name in columns)
    return [modality for modality in found if modality is not None]


def _modality(column: str, lists: pa.Array, codes: np.ndarray, items: int) -> Modality | None:
    if pa.types.is_null(lists.type):
        return None
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0))
    given = lengths > 0
    found = np.unique(lengths[given])
    if len(found) == 0:
        return None
    if len(found) > 1:
        raise InvalidInput(f"the catalogue's {column} has vectors of the lengths {found.tolist()}: all must be equal")
    flat = lists.filter(pa.array(given)).flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    if not np.isfinite(flat).all():
        raise InvalidInput(f"the catalogue's {column} has vectors that are not finite: leave those out instead")
    vectors = np.full((items, int(found[0])), np.nan, dtype=np.float32)
    vectors[codes[given]] = flat.reshape(-1, found[0])
    return Modality(column.removeprefix(PREFIX), vectors, brought=True)
