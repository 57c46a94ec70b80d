"""Quality scores from 0 to 5."""
