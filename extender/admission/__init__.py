"""What a new object of ours is given before it is stored, and why it is refused.

Two lists of small functions a kind: *fills* write what is missing on a copy of the object, *checks* say what is wrong
with it. The JSON patch is the difference between object and copy, so an object that has everything gets no patch, and
asking twice changes nothing. Nothing here knows more than the object, its namespace and the settings.
Read first: `rules.mutate`, `rules.validate`, then the lists `FILLS` and `CHECKS` in `pods`.
"""
