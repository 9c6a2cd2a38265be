"""What users learn of other people: who has a name or user id, and who has never signed in."""
