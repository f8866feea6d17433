"""Judgements: what a run's figures are worth against what was asked."""
