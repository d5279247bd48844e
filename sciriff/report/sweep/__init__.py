"""The page of several runs beside each other."""
