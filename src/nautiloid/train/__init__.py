"""Training: trainer, schedules, losses, exact state, and the recipe types that use them."""
