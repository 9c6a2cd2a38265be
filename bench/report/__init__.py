"""Results: rounds and rows, tables, figures and charts."""
