"""Chat formats: messages and tool calls to tokens, once."""
