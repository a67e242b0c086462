"""What `feast apply` reads: the raw views, a view for every living version, a service for every consumer.

Generated from the registry. Raises, so that nothing is applied and nothing dropped, unless the registry
can be relied upon. Further views: put a file beside this one (see feature_repo/team.py).
"""

from pathlib import Path

from feature_repo.declaration import declare

globals().update(declare(Path(__file__).parent))
