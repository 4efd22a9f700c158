"""Pages, mails and drawings of figures that others have computed."""
