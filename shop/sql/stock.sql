-- Movements of stock booked in [since, until): of the articles that sell most, in every store. Goods leave when the order is
-- paid and come back when it is returned; a little is wasted; once a month each shelf is counted. A store is delivered
-- to once a week and gets what has gone since the last time, three deliveries in a hundred are booked 1 to 3 days late.
-- Movements are numbered as they are booked, so that a shop stepped day by day has the same numbers.

insert into stock_movements
with shelves as (
    select
        stores.store_id,
        stores.time_zone,
        1 + (place * 1000003) % {product_count} as product_id,
        stores.store_id * 1000000 + 1 + (place * 1000003) % {product_count} as shelf_id
    from generate_series(0, {tracked_count}::bigint - 1) as places (place)
    cross join stores
),

days as (
    select day::date as day, day::date - date '2000-01-01' as day_number
    from generate_series(
        {first_day}::timestamp, {after_day}::timestamp - interval '1 day', interval '1 day'
    ) as numbers (day)
),

traded as (
    select
        orders.store_id,
        order_items.product_id,
        happened.moved_at,
        happened.reason_code,
        happened.sign * order_items.quantity as quantity_change,
        greatest(happened.moved_at, order_items.updated_at) as received_at
    from orders
    inner join order_items on orders.order_id = order_items.order_id
    cross join lateral (
        values (orders.paid_at, 'sale', -1), (orders.returned_at, 'return', 1)
    ) as happened (moved_at, reason_code, sign)
    where
        orders.ordered_at >= {since}::timestamptz - interval '45 days'
        and order_items.product_id in (select product_id from shelves)
        and greatest(happened.moved_at, order_items.updated_at) >= {since}
        and happened.moved_at is not null
),

looked_after as (
    select
        store_id,
        product_id,
        (day + interval '20 hours' + date_trunc('second', interval '1 hour' * time_share)) at time zone time_zone as moved_at,
        case when is_waste then 'waste' else 'count' end as reason_code,
        case when is_waste then -1 else (array[-2, -1, -1, 1])[1 + floor(16 * count_share)::int] end as quantity_change
    from (
        select
            *,
            waste_share < 0.004 as is_waste,
            extract(day from day) = 1 + shelf_id % 28 and count_share < 0.25 as is_counted
        from (
            select
                shelves.*,
                days.day,
                pg_temp.unit('stock time', shelf_id, day_number) as time_share,
                pg_temp.unit('stock waste', shelf_id, day_number) as waste_share,
                pg_temp.unit('stock count', shelf_id, day_number) as count_share
            from shelves
            cross join days
            offset 0
        ) as shares
        offset 0
    ) as looked_at
    where is_waste or is_counted
),

moved as (
    select * from traded where received_at < {until}
    union all
    select *, moved_at + interval '5 minutes' from looked_after
    where moved_at >= {since}::timestamptz - interval '5 minutes' and moved_at < {until}::timestamptz - interval '5 minutes'
),

-- what went or came back, by the day of the delivery that makes it good
gone as (
    select store_id, product_id, day + 1 + (6 * (day + 1 - date '2000-01-01' + store_id::int)) % 7 as day, quantity_change
    from (
        select store_id, product_id, quantity_change, (received_at at time zone 'UTC')::date as day from moved
        union all
        select store_id, product_id, quantity_change, (received_at at time zone 'UTC')::date
        from stock_movements
        where received_at >= {first_day}::timestamptz - interval '8 days' and reason_code <> 'delivery'
    ) as booked
),

delivered as (
    select store_id, product_id, day, -sum(quantity_change)::int as quantity_change
    from gone
    where day >= {first_day}::date and day < {after_day}::date
    group by store_id, product_id, day
    having sum(quantity_change) < 0
    union all
    select store_id, product_id, {started_on}::date, 8 + floor(10 * pg_temp.unit('stock level', shelf_id))::int
    from shelves
    where {started_on}::date >= {first_day}::date and {started_on}::date < {after_day}::date
),

booked as (
    select store_id, product_id, moved_at, reason_code, quantity_change, received_at from moved
    union all
    select
        store_id,
        product_id,
        moved_at,
        'delivery',
        quantity_change,
        moved_at + case when late_share < 0.03
            then interval '1 day' + date_trunc('second', interval '1600 hours' * late_share) else interval '10 minutes' end
    from (
        select
            delivered.*,
            (day + interval '5 hours' + date_trunc('second', interval '2 hours' * pg_temp.unit(
                'delivery time', delivered.store_id, day - date '2000-01-01'
            ))) at time zone stores.time_zone as moved_at,
            pg_temp.unit('delivery late', delivered.store_id * 1000000 + product_id, day - date '2000-01-01') as late_share
        from delivered
        inner join stores on delivered.store_id = stores.store_id
        offset 0
    ) as unloaded
)

select
    coalesce((select max(movement_id) from stock_movements), 0) + row_number() over (
        order by received_at, store_id, product_id, reason_code, moved_at, quantity_change
    ),
    store_id,
    product_id,
    moved_at,
    reason_code,
    quantity_change,
    received_at
from booked
where received_at >= {since} and received_at < {until}
