"""The harness: drives feedback rounds through a live stack and measures what they did."""
