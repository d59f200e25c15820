"""Many lines at once."""
