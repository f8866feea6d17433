"""What a machine can drive, and how far its figures are from known truth: joins, the search, and the record of both. Pure."""
