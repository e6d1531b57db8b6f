"""Rollout engines: tokens in, tokens and log-probs out."""
