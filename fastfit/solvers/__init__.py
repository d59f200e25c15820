"""How to go downhill. Solvers see points through ``moments()`` and ``evaluate()`` alone."""
