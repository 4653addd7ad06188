"""Searches of a sweep: what is tried, what is stopped, what is remembered (``results.search``), and Ray Tune's part."""
