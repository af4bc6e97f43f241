"""Which configuration is best on fresh seeds: rounds of repeats, and the estimates from them."""
