"""The Mamba-2 mixer between its projections, where one kernel can do several operators' work."""
