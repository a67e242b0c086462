"""Floor 2: the Feast repository; event log, history fold and snapshots; the one seam to Feast."""

import sys

from portrait.quick_typeguard import BeforeFeast

if "feast" not in sys.modules:
    sys.meta_path.insert(0, BeforeFeast())
