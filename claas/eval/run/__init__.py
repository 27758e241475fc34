"""One run under way: its folder, its ledger, and the loop over its steps."""
