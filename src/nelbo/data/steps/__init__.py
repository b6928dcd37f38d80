"""The steps between x, what a user has, and t, what a model sees."""
