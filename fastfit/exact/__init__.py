"""Numbers in twice the precision of floats, and least squares in them: no arrays, no Numba."""
