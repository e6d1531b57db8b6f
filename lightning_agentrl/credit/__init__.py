"""Credit assigners: who earned the reward. One file each."""
