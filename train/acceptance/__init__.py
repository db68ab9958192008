"""The acceptance report: what a physicist signs when a challenger is judged for promotion."""
