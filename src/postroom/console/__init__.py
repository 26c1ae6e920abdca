"""PAGES: the console that people open in a browser."""
