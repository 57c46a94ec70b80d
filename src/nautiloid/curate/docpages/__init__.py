"""Real pages with known ground truth: docstrings of this machine, rendered by docutils."""
