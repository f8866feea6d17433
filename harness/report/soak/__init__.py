"""What a soak adds to a run's report: series over hours and where they drift, error budget, storms, what befell the run."""
