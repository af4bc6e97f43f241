"""The HTTP server of an export."""
