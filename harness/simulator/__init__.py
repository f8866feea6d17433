"""The other side: a seeded messaging server with faults of its own making, and the truth about them.

Pure but for the shell (`server`, its helpers and `__main__`). Imports nothing of the client's half but `core.wire`.
"""
