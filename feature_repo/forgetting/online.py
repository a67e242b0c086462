"""The online store: history, profile, the vector of every version, and what teams keep."""

from portrait.feature_repo.forgetting.places import User
from portrait.feature_repo.store.feature_repo import FeatureRepo


class OnlineRows:
    """The user's row in every view."""

    name = "online views"

    def __init__(self, repo: FeatureRepo) -> None:
        self._repo = repo

    def count(self, user: User) -> int:
        """Views that hold something of the user."""
        return len(self._repo.online.views_of(self._repo.config, user.id))

    def delete(self, user: User) -> None:
        """Delete all of it."""
        self._repo.online.delete_users(self._repo.config, [user.id])
