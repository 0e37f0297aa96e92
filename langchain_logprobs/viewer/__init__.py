"""The browser page, served to this machine alone. Needs the extra `viewer`."""
