"""TeX of the formulas of a page, whatever their encoding."""
