"""The bodies of the functions by which the server lets ranges go: PL/pgSQL, made by `tier_sql`.

`LEAVE` and `DROP` answer NULL, or in words why not. A range leaves in two transactions, since a PostgreSQL snapshot
does not keep a table that is dropped: first it is marked, so that new readers take it from the lake; once all who began
before have ended, it is dropped. Readers go on while rows are summed up; who writes to these chunks by hand waits.
"""

LEAVE = """
DECLARE
    copy metrics._cold;
    found record;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN 'the transaction must be read committed, to see all rows';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('metrics.' || of_table, 0));
    SELECT * INTO copy FROM metrics._cold
    WHERE hypertable = of_table AND range_start = since AND range_end = until FOR UPDATE;
    IF copy.hypertable IS NULL OR copy.dropped_at IS NOT NULL THEN
        RETURN 'it has no copy in the lake that waits for this';
    END IF;
    IF copy.hold_until > at THEN
        RETURN 'it was loaded back, and is kept until ' || to_char(copy.hold_until, 'YYYY-MM-DD HH24:MI "UTC"');
    END IF;
    IF EXISTS (SELECT FROM metrics._cold WHERE hypertable = of_table AND left_at IS NOT NULL) THEN
        RETURN 'another range is about to be dropped';
    END IF;
    PERFORM metrics._lock_chunks(of_table, since, until, 'SHARE ROW EXCLUSIVE');
    IF EXISTS (SELECT FROM metrics._dirty WHERE hypertable = of_table AND bucket_at < until) THEN
        RETURN 'its roll-ups are not up to date';
    END IF;
    IF EXISTS (
        SELECT FROM _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log AS changed
        JOIN _timescaledb_catalog.hypertable AS named ON named.id = changed.hypertable_id
        WHERE named.schema_name = 'metrics' AND named.table_name = of_table
            AND changed.lowest_modified_value < extract(epoch FROM until) * 1000000
            AND changed.greatest_modified_value >= extract(epoch FROM since) * 1000000
    ) THEN
        RETURN 'its roll-ups are not up to date';
    END IF;
    EXECUTE format('SELECT * FROM metrics.%I($1, $2)', '_sum_' || of_table) INTO found USING since, until;
    IF found.rows <> copy.rows OR found.checksum <> copy.checksum THEN
        RETURN format('its rows changed since they were copied (%s then, %s now)', copy.rows, found.rows);
    END IF;
    UPDATE metrics._cold SET dropped_at = at, left_at = clock_timestamp(), hold_until = NULL
    WHERE hypertable = of_table AND range_start = since;
    INSERT INTO metrics._state AS kept (hypertable, dropped_before, refreshed_at) VALUES (of_table, until, now())
    ON CONFLICT (hypertable) DO UPDATE SET refreshed_at = excluded.refreshed_at,
        dropped_before = greatest(kept.dropped_before, excluded.dropped_before);
    RETURN NULL;
END
"""

# When other roles' sessions began is not told: all that are there are waited for. The minute is for those that began
# while the mark was being committed. What was locked and what was dropped must be the same chunks.
DROP = """
DECLARE
    copy metrics._cold;
    found record;
    older text[];
    held text[];
    gone text[];
    deadline timestamptz := clock_timestamp() + patience;
BEGIN
    SELECT * INTO copy FROM metrics._cold WHERE hypertable = of_table AND range_start = since AND range_end = until;
    SELECT array_agg(virtualtransaction) INTO older
    FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'virtualxid' AND mode = 'ExclusiveLock' AND datname = current_database()
        AND pid <> pg_backend_pid() AND coalesce(xact_start < copy.left_at + interval '1 minute', true);
    WHILE EXISTS (
        SELECT FROM pg_locks
        WHERE locktype = 'virtualxid' AND mode = 'ExclusiveLock' AND virtualtransaction = ANY (older)
    ) LOOP
        IF clock_timestamp() > deadline THEN
            RETURN 'it is in the lake, and the server drops it once the queries that run now have ended';
        END IF;
        PERFORM pg_sleep(0.02);
    END LOOP;
    PERFORM pg_advisory_xact_lock(hashtextextended('metrics.' || of_table, 0));
    SELECT * INTO copy FROM metrics._cold
    WHERE hypertable = of_table AND range_start = since AND range_end = until AND left_at IS NOT NULL FOR UPDATE;
    IF copy.hypertable IS NULL THEN
        RETURN 'it does not wait to be dropped';
    END IF;
    held := metrics._lock_chunks(of_table, since, until, 'SHARE ROW EXCLUSIVE');
    EXECUTE format('SELECT * FROM metrics.%I($1, $2)', '_sum_' || of_table) INTO found USING since, until;
    IF found.rows <> copy.rows OR found.checksum <> copy.checksum THEN
        UPDATE metrics._cold SET dropped_at = NULL, left_at = NULL WHERE hypertable = of_table AND range_start = since;
        RETURN format('its rows changed since they were copied (%s then, %s now)', copy.rows, found.rows);
    END IF;
    PERFORM metrics._lock_chunks(of_table, since, until, 'ACCESS EXCLUSIVE');
    -- Its buckets are summed up: a refresh that reaches in here must not empty them (2.28 and newer can be told).
    IF current_setting('timescaledb.skip_cagg_invalidation', true) IS NOT NULL THEN
        PERFORM set_config('timescaledb.skip_cagg_invalidation', 'on', true);
    END IF;
    SELECT array_agg(dropped ORDER BY 1) INTO gone
    FROM drop_chunks(format('metrics.%I', of_table)::regclass, older_than => until, newer_than => since) AS dropped;
    IF gone IS DISTINCT FROM held THEN
        RAISE EXCEPTION 'chunks of metrics.% came or went while they were dropped', of_table
            USING ERRCODE = 'serialization_failure';
    END IF;
    IF current_setting('timescaledb.skip_cagg_invalidation', true) IS NOT NULL THEN
        PERFORM set_config('timescaledb.skip_cagg_invalidation', 'off', true);
    END IF;
    UPDATE metrics._cold SET left_at = NULL WHERE hypertable = of_table AND range_start = since;
    RETURN NULL;
END
"""

# A chunk before its indexes, as readers do; drop_chunks by itself begins with the indexes, and deadlocks with them.
LOCK = """
DECLARE
    chunk text;
    held text[];
BEGIN
    SELECT array_agg(format('%I.%I', chunk_schema, chunk_name) ORDER BY 1) INTO held
    FROM timescaledb_information.chunks
    WHERE hypertable_schema = 'metrics' AND hypertable_name = of_table AND range_start < until AND range_end > since;
    FOREACH chunk IN ARRAY coalesce(held, '{}') LOOP
        EXECUTE format('LOCK TABLE %s IN %s MODE', chunk, mode);
    END LOOP;
    RETURN held;
END
"""

JOB = """
DECLARE
    copy record;
    refusal text;
BEGIN
    FOR copy IN
        SELECT range_start, range_end, left_at FROM metrics._cold
        WHERE hypertable = config ->> 'hypertable' AND (left_at IS NOT NULL OR dropped_at IS NULL
            AND range_end <= now() - (config ->> 'drop_after')::interval AND coalesce(hold_until <= now(), true))
        ORDER BY left_at IS NULL, range_start
    LOOP
        IF copy.left_at IS NULL THEN
            refusal := metrics._leave(config ->> 'hypertable', copy.range_start, copy.range_end, now());
        ELSE
            refusal := metrics._drop_left(config ->> 'hypertable', copy.range_start, copy.range_end, '10 seconds');
        END IF;
        IF refusal IS NOT NULL THEN
            RAISE WARNING 'metrics.% from %: not dropped: %', config ->> 'hypertable', copy.range_start, refusal;
        END IF;
    END LOOP;
END
"""
