"""A trained bundle at work: load it, predict, annotate whole archives.

``prediction`` says what a predictor is, ``sources`` lists and reads the images of an archive,
``archive`` drives them through a predictor, ``journal`` remembers what is done so that a kill loses
nothing and repeats nothing, and ``rows`` says what one annotated image looks like on disk.
"""
