"""One file a published claim, and the ledger of all of them."""
