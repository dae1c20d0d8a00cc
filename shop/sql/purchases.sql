-- The orders of the days from {first_day} to before {after_day}, with their fate; temporary, one row per order.
-- A few customers buy most: ranks are drawn exponentially (the first buys 13 times the average, a tenth of the customers
-- nearly half) and scattered over the ids; the factor is a prime, so each rank has an id of its own.

create temp table purchases on commit drop as
select purchased.*, fate.*
from (
    select
        first_order_id - 1 + row_number() over (partition by day order by ordered_at, place_in_day) as order_id,
        customer_id,
        store_id,
        day_number,
        novelty_count,
        ordered_at
    from (
        select
            *,
            -- the instant within this UTC day at which the store's clock shows the time drawn
            local_at - interval '24 hours'
                * floor(extract(epoch from local_at - day::timestamptz) / 86400)::int as ordered_at
        from (
            select *, (day::timestamp + interval '1 second' * second_of_day) at time zone time_zone as local_at
            from (
                select
                    chosen.*,
                    stores.time_zone,
                    -- the till is busiest at noon and from 5 to 7 in the evening
                    (
                        3600 * width_bucket(
                            hour_share,
                            array[
                                0.002, 0.004, 0.005, 0.006, 0.008, 0.014, 0.030, 0.065, 0.115, 0.170, 0.230, 0.300, 0.385,
                                0.450, 0.505, 0.565, 0.640, 0.735, 0.825, 0.895, 0.945, 0.975, 0.990
                            ]::double precision[]
                        ) + floor(3600 * second_share)
                    )::int as second_of_day
                from (
                    select
                        drawn.*,
                        case when store_share < 0.86 then homes.home_store_id
                            else 1 + floor({store_count} * other_store_share)::bigint end as store_id
                    from (
                        select
                            *,
                            case when newcomer_share * ({customer_count} + newcomer_count) < newcomer_count
                                then {customer_count} + 1 + floor(newcomer_count * customer_share)::bigint
                                else 1 + (floor({customer_count} * (exp(4 * customer_share) - 1) / (exp(4.0) - 1))::bigint * 1000003)
                                    % {customer_count}
                            end as customer_id
                        from (
                            select
                                day,
                                day_number,
                                first_order_id,
                                newcomer_count,
                                novelty_count,
                                place_in_day,
                                pg_temp.unit('order newcomer', day_number, place_in_day) as newcomer_share,
                                pg_temp.unit('order customer', day_number, place_in_day) as customer_share,
                                pg_temp.unit('order store', day_number, place_in_day) as store_share,
                                pg_temp.unit('order other store', day_number, place_in_day) as other_store_share,
                                pg_temp.unit('order hour', day_number, place_in_day) as hour_share,
                                pg_temp.unit('order second', day_number, place_in_day) as second_share
                            from pg_temp.traded_days
                            cross join lateral generate_series(1, order_count) as places (place_in_day)
                            where day >= {first_day}::date and day < {after_day}::date
                            offset 0
                        ) as shares
                        offset 0
                    ) as drawn
                    inner join pg_temp.customer_versions as homes
                        on drawn.customer_id = homes.customer_id
                        and drawn.day >= homes.valid_from and drawn.day < homes.valid_to
                    offset 0
                ) as chosen
                inner join stores on chosen.store_id = stores.store_id
                offset 0
            ) as timed
            offset 0
        ) as placed
        offset 0
    ) as instants
    offset 0
) as purchased
cross join lateral pg_temp.fate(purchased.order_id, purchased.ordered_at) as fate;
