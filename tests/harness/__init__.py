"""Starts the real binaries for tests, and looks at what they did from outside."""
