"""A model: its chat markup, weights, memory and verification, the engines that answer with it, and APIs of others."""
