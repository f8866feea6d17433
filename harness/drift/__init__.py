"""What a system does over hours and nights: trends, leaks, steps, storms, and how fast an error budget is spent. Pure."""
