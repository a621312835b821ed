"""What the tables of one paper share; parts of recipes, not recipes."""
