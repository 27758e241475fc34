"""What the project recorded, as pages for a person: no script, nothing fetched from elsewhere, every text escaped."""
