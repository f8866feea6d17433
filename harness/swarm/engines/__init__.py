"""Shells over one guest session."""
