"""Who gets in: tokens, sign-in, renewal, suspension, client addresses."""
