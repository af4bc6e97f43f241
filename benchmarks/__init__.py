"""`make bench`: this program compared with its peers and with lower bounds, within one call."""
