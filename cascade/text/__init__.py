"""Text for the decoder: normalisation, tokens, vocabulary, sentences. Downloads nothing."""
