"""Built-in recipes: a YAML file each, its first comment line says what it is for."""
