"""Who is in the cluster and who should own what (design 3.3).

What is decided here is only who *should* own a partition; who does is decided by the log. So this
package needs no agreement and no clock, and a wrong guess costs a fence, never a record.

Forbidden here: I/O, clocks, dice. `members`, `balance`, `assignor` and `rendezvous` are pure, and
equal in every process whatever its PYTHONHASHSEED.
"""
