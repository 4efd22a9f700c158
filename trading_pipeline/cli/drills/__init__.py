"""Rehearsals of emergencies, each on a simulator of its own in a folder of its own: no account is ever touched."""
