"""Proof for a dialect: transcripts, broken bytes, random interleavings and soaks in virtual time, for anybody's dialect.

`suite.Suite` is the front. Needs nothing but the package; `strategies` alone wants Hypothesis.
"""
