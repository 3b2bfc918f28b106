"""Plan -> text -> disk."""
