"""The report: a fold of a run's journal into a model, the join with truth, and what is written from both."""
