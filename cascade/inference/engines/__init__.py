"""Who runs the operators of an archive: this machine (``local``) or a cluster (``ray``)."""
