"""What every other module builds on; never reaches torch."""
