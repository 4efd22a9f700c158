"""The steps that need the world, written against ports."""
