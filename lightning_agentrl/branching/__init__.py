"""Where rollouts of one prompt part."""
