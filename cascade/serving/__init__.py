"""The assistant, a web page over a model bundle. Not furnished yet: the door stands for a later issue."""
