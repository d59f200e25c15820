"""How one pass over a block of points is computed.

``gradient`` has the fused loop; ``moments``, ``residuals`` and ``median`` the others, all in plain Python. ``compiled``
runs them with Numba, ``reference`` computes the same sums with NumPy: both have the functions ``run``, ``gather`` and
``glance``, with the same arguments and results.
"""
