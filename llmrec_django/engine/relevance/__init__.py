"""The relevance model: r(u) = softmax(S(u) · R).

`config` and `serve` need no torch; every other module of this package imports it at the top, so import those only
inside the function that trains.
"""
