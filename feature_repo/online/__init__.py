"""Online stores: subclasses of Feast's own stores whose writes win only when they are newer.

Both keep Feast's own layout, so that everything of Feast reads them, and add to a stored row its order
(position, as_of). A write wins only with a greater order, and the store itself decides: late backfills,
zombies, retries and a plain `feast materialize` can never replace a fresher value.
"""
