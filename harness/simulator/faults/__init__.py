"""Faults on purpose: one small file each, seeded, composable, switchable while running."""
