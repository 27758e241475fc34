"""The Tinker engine: weights, training and sampling at a hosted service, versions on record here."""
