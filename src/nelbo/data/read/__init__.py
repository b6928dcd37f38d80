"""Files, data frames and sequences -> arrays."""
