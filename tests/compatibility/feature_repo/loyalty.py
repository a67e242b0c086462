"""A team's own feature as an input of the representation model: points and tier of a loyalty programme.

Copy this file into feature_repo/, beside definitions.py. Then:

    eval "$(portrait env)"
    cd feature_repo && feast apply       # the view joins the feature service `representation_inputs`
    portrait train autoencoder           # blocks loyalty__points and loyalty__tier, and another fingerprint

Training takes of each user the newest row before the snapshot's time, joined by Feast. For users whose vector has to be
computed on read, put the values online too: `feast materialize-incremental <now>`.
"""

import os
from pathlib import Path

from feast import FeatureView, Field, FileSource
from feast.types import Float32, String

from feature_repo.entities import user

# One Parquet file, or a folder of them, that the team's own job writes: `user_id` (string), `updated_at` (timestamp in
# UTC, microseconds: when the values became known) and the features. It may lie anywhere that every machine of the
# instance sees; here, in a folder of the home. The path has to be absolute: Feast and Ray change the working directory.
PATH = Path(os.environ["PORTRAIT_HOME"]) / "teams" / "loyalty.parquet"

loyalty = FeatureView(
    name="loyalty",
    entities=[user],
    schema=[
        Field(name="user_id", dtype=String),
        Field(name="points", dtype=Float32),  # numbers are standardised
        Field(name="tier", dtype=String),  # texts are categories
    ],
    source=FileSource(name="loyalty_file", path=str(PATH), timestamp_field="updated_at"),
    tags={"representation_inputs": "true"},  # this is how a view joins
    owner="loyalty@example.com",
)
