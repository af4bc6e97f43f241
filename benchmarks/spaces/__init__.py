"""Search spaces of the benchmarks."""
