-- Chance that repeats: numbers in [0, 1) from a topic and ids by PostgreSQL's own 64-bit hash, the same on every
-- server for one seed, in any order of rows. Inlined by the planner; the topic's hash is folded into a constant.
-- Queries use `offset 0` as a fence, so that such an expression is worked out once and not wherever it is named.

create function pg_temp.unit(topic text, a bigint, b bigint default 0) returns double precision
language sql immutable parallel safe as $$
    select (
        (hashint8extended(b, hashint8extended(a, hashtextextended(topic collate "C", {seed}::bigint))) >> 11)
        & 9007199254740991
    )::double precision / 9007199254740992
$$;

create function pg_temp.pick(choices text[], share double precision) returns text
language sql immutable parallel safe as $$
    select choices[1 + floor(share * array_length(choices, 1))::int]
$$;

-- The fate of an order, known from its beginning: when each thing happens to it, NULL if never.
-- 3 % are cancelled, and cleared away after a season; 5 % of the others come back; 2 % are reported 1 to 3 days late.
create function pg_temp.fate(order_id bigint, ordered_at timestamptz)
returns table (
    registered_at timestamptz, cancelled_at timestamptz, purged_at timestamptz,
    paid_at timestamptz, shipped_at timestamptz, delivered_at timestamptz, returned_at timestamptz
)
language sql stable parallel safe as $$
    select
        registered_at,
        cancelled_at,
        cancelled_at + interval '90 days' + interval '30 days' * purge_share as purged_at,
        case when cancelled_at is null then paid end,
        case when cancelled_at is null then shipped end,
        case when cancelled_at is null then delivered end,
        case when cancelled_at is null and return_share < 0.05
            then delivered + interval '1 day' + date_trunc('second', interval '380 days' * return_share) end
    from (
        select
            *,
            shipped + interval '20 hours' + date_trunc('second', interval '96 hours' * delivery_share) as delivered
        from (
            select *, paid + interval '5 hours' + date_trunc('second', interval '40 hours' * shipping_share) as shipped
            from (
                select
                    $2 + case when late_share < 0.02
                        then interval '1 day' + date_trunc('second', interval '100 days' * late_share)
                        else interval '0' end as registered_at,
                    case when cancel_share < 0.03
                        then $2 + interval '15 minutes' + date_trunc('second', interval '1500 hours' * cancel_share)
                        end as cancelled_at,
                    $2 + interval '1 minute'
                        + date_trunc('second', case when payment_share < 0.9
                            then interval '15 minutes' * payment_share else interval '30 hours' * payment_share end
                        ) as paid,
                    pg_temp.unit('order purge', $1) as purge_share,
                    pg_temp.unit('order return', $1) as return_share,
                    pg_temp.unit('order shipping', $1) as shipping_share,
                    pg_temp.unit('order delivery', $1) as delivery_share
                from (
                    select
                        pg_temp.unit('order late', $1) as late_share,
                        pg_temp.unit('order cancel', $1) as cancel_share,
                        pg_temp.unit('order payment', $1) as payment_share
                    offset 0
                ) as shares
                offset 0
            ) as beginning
            offset 0
        ) as middle
        offset 0
    ) as whole
$$;
