"""The assistant, a web page over a model bundle. Not furnished yet; only the door stands."""
