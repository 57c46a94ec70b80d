"""Parts of reports (page, chart, table, samples) and the report of a run."""
