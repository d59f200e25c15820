"""Where the points live: in memory, for now.

Points of every kind answer the same two questions, ``moments()`` and ``evaluate()``; see ``base``.
"""
