"""Definitions for `feast apply`: the raw views, a view for every living version, a service for every consumer.

They are generated from the registry. The module raises, so that nothing is applied and nothing dropped, unless the
registry can be relied upon. Further views: put a file beside this one (see feature_repo/declaration/team_views.py).
"""

from pathlib import Path

from portrait.feature_repo.declaration.declaration import declare

globals().update(declare(Path(__file__).parent))
