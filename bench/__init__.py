"""How fast fastfit is, beside what the machine can do."""
