"""Joint image/text contexts, their clusters, and the label table of the next round."""
