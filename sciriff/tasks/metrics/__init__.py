"""How answers are compared with references, in numbers that can be summed over instances."""
