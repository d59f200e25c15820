"""How fast fits are on this machine: what ``fastfit bench`` measures and draws."""
