-- Batches, who works on them, and when requests were last sent.

CREATE SCHEMA hospital_bulk;

-- The one clock of all processes.
CREATE FUNCTION hospital_bulk.clock() RETURNS timestamptz LANGUAGE sql AS 'SELECT clock_timestamp()';

-- Processes that serve or run batches; one that was not seen for a few seconds lost its batches.
CREATE TABLE hospital_bulk.processes (
    id uuid PRIMARY KEY,
    seen_at timestamptz NOT NULL
);

CREATE TABLE hospital_bulk.batches (
    id uuid PRIMARY KEY,
    directory_url text NOT NULL,
    owner text,
    idempotency_key text,
    status text NOT NULL,
    cancelled boolean NOT NULL DEFAULT false,
    head json NOT NULL,                      -- all of it but its rows, as in a checkpoint
    step text NOT NULL DEFAULT '',           -- what its runner last told of it ...
    eta_s double precision,
    saved_at timestamptz NOT NULL,           -- ... and when
    version bigint NOT NULL DEFAULT 1,       -- counts changes
    holder uuid,                             -- the process that works on it; null: nobody
    fence bigint NOT NULL DEFAULT 0,         -- counts holders: whoever has an older number lost it
    is_clean boolean NOT NULL DEFAULT true   -- nobody held it since its state was last settled
);

CREATE INDEX ON hospital_bulk.batches (holder) WHERE holder IS NOT NULL;

CREATE UNIQUE INDEX ON hospital_bulk.batches (directory_url, coalesce(owner, ''), idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TABLE hospital_bulk.rows (
    batch_id uuid NOT NULL REFERENCES hospital_bulk.batches ON DELETE CASCADE,
    number integer NOT NULL,
    version bigint NOT NULL,                 -- of the batch, when the row last changed
    document json NOT NULL,                  -- as in a checkpoint
    PRIMARY KEY (batch_id, number)
);

-- Requests that left for a directory, or are about to.
CREATE TABLE hospital_bulk.turns (
    directory_url text NOT NULL,
    lane text NOT NULL,
    taken_at timestamptz NOT NULL
);

CREATE INDEX ON hospital_bulk.turns (directory_url, lane, taken_at);

-- Take up to `wanted` turns, so that no window of `period_s` seconds has more than `most` of them.
-- Returns how many were taken, and how long ago each turn of the window was, the oldest first.
CREATE FUNCTION hospital_bulk.take_turns(
    of_directory text, of_lane text, wanted integer, most integer, period_s double precision,
    OUT taken integer, OUT ages_s double precision[]
) LANGUAGE plpgsql AS $$
DECLARE
    now timestamptz;
    used integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(of_directory || ' ' || of_lane, 0));
    now := hospital_bulk.clock();
    DELETE FROM hospital_bulk.turns
        WHERE directory_url = of_directory AND lane = of_lane
        AND taken_at <= now - make_interval(secs => period_s);
    -- The server's clock was set back: how long ago is not known, so it counts from now on.
    UPDATE hospital_bulk.turns SET taken_at = now
        WHERE directory_url = of_directory AND lane = of_lane AND taken_at > now;
    SELECT count(*) INTO used FROM hospital_bulk.turns
        WHERE directory_url = of_directory AND lane = of_lane;
    taken := greatest(0, least(wanted, most - used));
    INSERT INTO hospital_bulk.turns
        SELECT of_directory, of_lane, now FROM generate_series(1, taken);
    SELECT array_agg(extract(epoch FROM now - taken_at) ORDER BY taken_at) INTO ages_s
        FROM hospital_bulk.turns WHERE directory_url = of_directory AND lane = of_lane;
END;
$$;
