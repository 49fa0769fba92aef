"""Networks as plain ``nn.Module``; chosen by a name from a closed table, never by import path."""
