"""Ways out of what nobody may guess about: parked actors, stopped partitions, lost history.

What is there is found from log and database alone (`scan`, `findings`). Each way out first says in
a `Plan` what it does and what it loses, and does nothing before `apply`. What it writes are records
of the log protocol: a Claim that declares records void (3, rule 4; 11), or a commit with cause
operator under a claim of its own. So it works whether nodes run or not: one that owns the partition
meets a foreign claim, and takes the partition again.
"""
