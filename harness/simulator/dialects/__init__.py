"""The server's half of each dialect."""
