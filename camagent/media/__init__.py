"""Pictures: where they come from, how they are encoded once, and who gets them."""
