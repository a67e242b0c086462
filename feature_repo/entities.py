"""Entities of features: user, service and item. A team's own views import `user` from here."""

from feast import Entity, ValueType

user = Entity(
    name="user", join_keys=["user_id"], value_type=ValueType.STRING, description="Whoever acts on items; the portrayed."
)
service = Entity(
    name="service", join_keys=["service"], value_type=ValueType.STRING, description="A surface that emits events."
)
item = Entity(
    name="item",
    join_keys=["item_id"],
    value_type=ValueType.STRING,
    description="What users act on; known by its service and item_id together.",
)
