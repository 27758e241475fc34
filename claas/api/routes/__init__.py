"""The endpoints, one file per group; each route only translates between HTTP and what does the work."""
