"""What the project recorded, as pages for a person: nothing fetched from elsewhere, every text escaped."""
