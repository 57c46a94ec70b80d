"""One file a `model_type`: its config.json and its tensor names."""
