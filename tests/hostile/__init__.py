"""Files made to harm whoever reads them: by hand, by mutation, and a program that uploads them to a real service.

``bombs`` has the ones made by hand, ``mutate`` those made by chance, ``uploads`` is F02 (``make bench-hostile``).
Nothing here is stored: every file is made from code when it is needed, the same one each time.
"""
