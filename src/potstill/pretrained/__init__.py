"""Encoders of BERT's kind: read from a folder, run and fine-tuned; what teachers and students share."""
