"""The leaf layer: errors, files, text and settings that every other layer may use."""
