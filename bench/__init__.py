"""Benchmarks: the speed of fastfit, relative to what the machine can do."""
