"""Stages that need all documents: exact and near duplicates."""
