"""One learned portrait of every user, shared by every model."""

import sys

from portrait.quick_typeguard import BeforeFeast

# portrait_old_names.pth leads here whenever Python starts, so that `feast apply` and `feast serve` start sooner too.
if "feast" not in sys.modules:
    sys.meta_path.insert(0, BeforeFeast())
