"""Check a machine: what is installed, what it has, and whether a store lets us work. Each check is a function.

No Ray: ``genrescale.launch.nodes`` makes the same checks on every node of a cluster.
"""
