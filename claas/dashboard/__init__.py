"""What the project recorded, as pages for a person: readable without scripts, nothing from elsewhere, all escaped."""
