"""Between the nodes of a system: links that carry frames of messages, and who lives.

A router above it is put together so:

    peers = Peers(router, now, dice)           # hands on what links bring
    mesh = GrpcMesh(..., receiver=peers)       # or MemoryNetwork.join in a simulation
    peers.use(mesh)
    observer = Observer(node, peers, now, changed)
    async with mesh.running():                 # peers.run() and observer.run() in a TaskGroup

It calls `link = peers.link(endpoint)`, notes (link, id) for `id = link.new_id()`, and posts an
Invoke. An error raised there says that nothing was sent. Later comes one of these:

- Reply, Refusal or Redirect with that id, on that link;
- `ended` for the link: requests in `Ended.unsent` certainly did not reach the owner, and go
  elsewhere as if they were new; all others may have, and go on under the same number alone;
- nothing: the caller's deadline ends the wait.

Nothing here knows who owns what or runs an action, and `grpc_mesh` and `grpc_tls` alone see a type
of gRPC. All of it is about liveness: whoever needs to know whether a message took effect asks again
under the same number (log protocol 7).
"""
