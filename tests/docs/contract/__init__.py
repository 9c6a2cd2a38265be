"""The contract documents: their examples, the recording of these, and the tables of the protocol page."""
