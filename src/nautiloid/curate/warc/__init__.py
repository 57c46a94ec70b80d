"""Web archives: compressed members, records that survive damage, HTTP payloads."""
