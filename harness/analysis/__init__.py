"""The metrics of any delivery log, whoever made it: read, put into order on disk where it does not fit, and measured."""
