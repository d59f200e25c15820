"""Where the points live: in arrays, moments, files, or partitions of Dask.

Points of every kind answer the same two questions, ``moments()`` and ``evaluate()``; see ``base``.
"""
