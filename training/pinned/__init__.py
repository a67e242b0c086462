"""Pinned training sets: for each label the vector that a version would have served when the label was made.

make.py            labels file -> training set, bucket by bucket, in this process or through Ray
bucket.py          one bucket: the log replayed, encoded as of each label's time
encoders_as_of.py  the version's encoder with those items only that there were at a time
stamp.py           the origin of a set in its metadata, and the reader of sets that belong together
"""
