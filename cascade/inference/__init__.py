"""A trained bundle at work: load it, predict, annotate whole archives.

``prediction`` says what a predictor is, ``sources`` lists and reads the images of an archive,
``listing`` sorts them into an ``index``, ``decode`` reads them in ``workers`` of which a bad file
costs none but itself, ``engines`` let the network over them, ``studies`` says which images are read
together, ``rows`` what an annotated image or study looks like on disk, ``shards`` where its rows
lie, and ``archive`` drives it all so that a kill loses nothing and repeats nothing.
"""
