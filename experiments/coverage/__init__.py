"""Every experiment that Model Garden registers, at small sizes: does kwc compress it?"""
