"""`make bench`: this program beside its peers and its floors, ratios within one call."""
