"""Tables, objects and the journal."""
