"""The run's journal: what is written (`records`), how it lies on disk (`codec`), and who writes and reads it."""
