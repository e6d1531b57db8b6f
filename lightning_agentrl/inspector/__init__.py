"""Looks into the credit of saved rollouts: several assigners side by side, in numbers, figures and one HTML page."""
