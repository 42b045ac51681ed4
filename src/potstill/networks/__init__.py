"""Networks that teachers and students are both made of, in torch."""
