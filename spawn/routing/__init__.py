"""Any node takes any call, and it reaches the owner of its partition (design 4).

`owners` (pure) is what a node knows of who owns what; `router` sends commands to other nodes and
tells their outcomes; `incoming` runs what other nodes send. Who owns is decided by the log alone: a
wrong guess here costs a redirect.
"""
