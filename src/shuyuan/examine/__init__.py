"""Every assistant sits the same papers; paired statistics say what the evidence allows."""
