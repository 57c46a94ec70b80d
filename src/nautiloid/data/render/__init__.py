"""Chat grammars: one file each, a renderer with its parser and its Jinja template."""
