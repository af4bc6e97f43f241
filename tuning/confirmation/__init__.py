"""Which configuration is best on fresh seeds: its repeats, and the estimates from them."""
