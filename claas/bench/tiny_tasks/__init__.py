"""Tasks of our own, in lm-eval's form, that the embedded model can really do: they are no standard benchmark."""
