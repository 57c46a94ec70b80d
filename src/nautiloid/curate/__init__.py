"""From web pages to training shards: readers, extraction, filters, deduplication, executors."""
