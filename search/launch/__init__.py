"""Workers inside processes that another program owns, such as Ray's actors.

Workers that a run starts itself on its own machine are in `search.workers`.
"""
