"""The synthetic chat corpus: banks of sentences, tasks that use them, styles that bend them, and conversations."""
