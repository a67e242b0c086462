"""What a change of an assignment asks for before any gate does: that there is something to change."""

from portrait.registry.errors import Conflict, InvalidInput
from portrait.registry.records.records import Assignment


def require_switch(consumer: str, assignment: Assignment | None, version: str) -> None:
    """Raise Conflict when the consumer reads `version` for all users already."""
    if assignment is None or assignment.stable != version:
        return
    if assignment.canary is None:
        raise Conflict(f"consumer {consumer} already reads {version}: nothing to promote")
    raise Conflict(
        f"consumer {consumer} already reads {version}, beside the canary {assignment.canary}: "
        f"end that with `portrait canary abort {consumer}`"
    )


def require_canary(consumer: str, assignment: Assignment | None, version: str, share: float) -> None:
    """Raise InvalidInput for a share that is none, Conflict unless `version` can be the canary at this share."""
    if not 0 < share < 1:  # NaN too
        raise InvalidInput(f"canary share {share}: give a number between 0 and 1, 0.05 for one user in twenty")
    if assignment is None:
        raise Conflict(
            f"consumer {consumer} reads nothing yet, and a canary needs a stable version beside it: "
            f"run `portrait promote {consumer} {version}` without --canary"
        )
    if assignment.stable == version:
        raise Conflict(f"consumer {consumer} already reads {version} for all users: choose another version as canary")
    if assignment.canary not in (None, version):
        raise Conflict(
            f"consumer {consumer} has the canary {assignment.canary} open: run `portrait canary finish {consumer}` "
            f"or `portrait canary abort {consumer}` first"
        )
    if assignment.canary == version and assignment.canary_share == share:
        raise Conflict(f"consumer {consumer} already reads the canary {version} at share {share:g}: give another share")


def require_open_canary(consumer: str, assignment: Assignment | None) -> str:
    """The canary of a consumer; raises Conflict when none is open."""
    if assignment is None or assignment.canary is None:
        begin = f"begin one with `portrait promote {consumer} VERSION --canary 0.05`"
        raise Conflict(f"consumer {consumer} has no canary open: {begin}")
    return assignment.canary


def narrows(assignment: Assignment | None, share: float) -> bool:
    """Whether the share takes users off the open canary."""
    return assignment is not None and assignment.canary_share is not None and share < assignment.canary_share
