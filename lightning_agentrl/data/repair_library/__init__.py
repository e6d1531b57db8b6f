"""Small projects that work, for `Repair` to break. Beside each lies ``NAME.cases``: expressions, one per line."""
