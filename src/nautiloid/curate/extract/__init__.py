"""From a page to text, one file a method; `dom` is ours."""
