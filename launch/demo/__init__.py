"""A page that runs an artifact's model in the browser, on what its reader draws."""
