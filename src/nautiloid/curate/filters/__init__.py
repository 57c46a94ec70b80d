"""Stages that work on one document at a time, one file each."""
