"""One step each, in order: what makes a database of one version one of the next."""
