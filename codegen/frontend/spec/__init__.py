"""The spec: reading TOML, checking its tables, legal names, the JSON schema, and the tuning file."""
