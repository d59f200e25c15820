"""How to go downhill. Solvers see points through the protocol ``Points`` alone."""
