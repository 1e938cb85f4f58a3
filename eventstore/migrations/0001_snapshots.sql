-- Checkpoints of partitions and snapshots of actors. All of it is a cache of the log (design I6):
-- the node that owns a partition writes it behind its commits, and anybody may delete it whole.
--
-- Offsets are those of records in the partition's log. An actor's id is its UTF-8 as bytea, since
-- text can't hold U+0000; `convert_from(id, 'UTF8')` shows it. A type's name is checked by Spawn
-- (letters, digits, _ and -), so it is text. In keys the id comes before the type, of which a
-- partition has one or few: comparing begins where rows differ.

-- One row per partition that was ever written: its checkpoint at X, or nulls where there is none
-- (any more). Whoever changes rows of a partition locks its row here first.
create table spawn.checkpoints (
    -- Stands for (system, topic, partition) in the tables below, to keep their indexes small.
    -- It may change when the database is put back: never remember it between statements.
    partition_id  integer generated always as identity primary key,
    system        text collate "C" not null,
    topic         text collate "C" not null,
    partition     integer not null,
    record_offset bigint check (record_offset > 0), -- X: the fold of all valid records below it
    claim         bytea,   -- current claim below X
    epoch         bigint,  -- of that claim
    log_id        bytea,   -- tells logs apart: of another log, a checkpoint counts for nothing
    fold          bytea,   -- the rest of the partition's fold, encoded by spawn.core.checkpoint
    unique (system, topic, partition),
    check (num_nulls(record_offset, claim, epoch, log_id, fold) in (0, 5))
) with (fillfactor = 50);

-- The newest snapshot of each actor, below its partition's X. Most writes replace a row by one of
-- about its size: half of each page is left free, so that the new version fits beside the old one
-- and no index has to change.
create table spawn.actors (
    revision      bigint not null,
    record_offset bigint not null,  -- of the actor's last record below X
    checksum      bigint not null,  -- CRC-32 of state; 0 where there is none
    partition_id  integer not null,
    version       integer not null, -- the type's snapshot_version
    deleted       boolean not null,
    type          text collate "C" not null,
    id            bytea not null,
    fingerprint   bytea not null,   -- CRC-64-AVRO of the schema that wrote state
    state         bytea,            -- null: deleted, or never written
    primary key (partition_id, id, type)
) with (fillfactor = 50);

-- States kept for time travel, one every so many revisions. Never pruned by Spawn: a row may be
-- deleted at any time, walking back from the next one then takes longer.
create table spawn.actor_history (
    revision      bigint not null,
    record_offset bigint not null,
    partition_id  integer not null,
    type          text collate "C" not null,
    id            bytea not null,
    fingerprint   bytea not null,
    state         bytea,
    primary key (partition_id, id, type, revision)
);

-- Idempotency keys in their actors' windows (log protocol 7, Keys), as digests of 16 bytes.
create table spawn.actor_keys (
    record_offset bigint not null,  -- of the record that the key belongs to
    time_us       bigint not null,
    partition_id  integer not null,
    type          text collate "C" not null,
    id            bytea not null,
    key           bytea not null,
    payload       bytea not null,   -- digest of action and payload
    primary key (partition_id, id, type, key)
);
