"""The search space of the benchmarks."""
