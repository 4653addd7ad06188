"""What a sharded corpus holds, as one page to be looked at before anything is trained.

``reading`` hears songs out of the shards (pure functions, to run as Ray tasks), ``facts`` counts what the manifest
says, ``figures`` draws, ``page`` writes.
"""
