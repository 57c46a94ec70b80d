"""The command line: one file a verb, `main` finds it by its name."""
