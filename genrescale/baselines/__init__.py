"""Baselines: what is scored without training a network, on the songs of the runs that it stands beside.

``log_mel``, ``features`` and ``embeddings`` make a vector of a song, ``linear`` and ``trees`` learn tags from vectors,
``run`` trains the baselines of each size and writes their rows, and ``distribute`` is where Ray does the work.
"""
