"""What runs inside the sandbox. Needs only the standard library: the template process imports nothing else of ours."""
