"""The light process that composes the config, plans, starts every stage as a child and can be resumed."""
