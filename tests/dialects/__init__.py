"""Guest halves, driven by hand."""
