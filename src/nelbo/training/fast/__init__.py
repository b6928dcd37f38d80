"""Steps without autograd, and without memory that goes back and forth."""
