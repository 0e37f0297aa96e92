"""The terminal: what reports, spans and metrics look like there. Needs the extra `cli`."""
