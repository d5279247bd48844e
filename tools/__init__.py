"""What only this repository needs; the package imports nothing from here."""
