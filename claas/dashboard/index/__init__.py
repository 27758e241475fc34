"""A run's records as pages need them: which folders are runs, and an index that spares reading them again."""
