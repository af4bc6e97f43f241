"""One call of `tune` or `confirm`: propose, train, report, pause, stop."""
