"""One node's place among the others of its system (design 3.3, 3.4).

`roll` is where nodes write down that they are there, `fitness` whether this one can do its work,
`handing` asks owners for partitions and answers those who ask; `membership` brings them together
with group, mesh and routing, and is the `Placement` of the runtime. What is decided from all of it
stands in `spawn.cluster.choice`, without any I/O. Nothing here is needed for safety.
"""
