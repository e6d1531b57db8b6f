"""Policy losses and their aggregation."""
