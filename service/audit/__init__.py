"""The auditor's side: the record read back, exactly as it was written."""
