"""Describe a sharded corpus on one page, to be checked before training on it.

``reading`` measures songs from the shards (pure functions, run as Ray tasks), ``facts`` computes statistics from the
manifest, ``figures`` draws, ``page`` renders.
"""
