"""How one pass over a block of points is computed.

``passes`` states what is summed, in plain Python; ``reference`` runs it on NumPy and ``parallel`` compiles
it with Numba. The two have one entry, ``run``, with the same arguments and results.
"""
