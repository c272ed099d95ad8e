"""From finished runs to tables and plots: reads run records, starts nothing and needs no torch."""
