"""Whether a preference's verifiers can be trusted, found out before any model is measured with them."""
