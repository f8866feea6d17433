"""What searches: capacity and rate limits. Pure: time, loads and answers are given, nothing is run or read."""
