"""What an assistant sees: one module per family, each a few plain functions declared as tools."""
