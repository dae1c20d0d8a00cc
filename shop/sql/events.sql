-- What happens to orders in [since, until), as events: to those registered in it, which stand in purchases, and to those
-- that are in the table by now. An event of an order that the till reported late is recorded with the report. The last
-- event of a cancelled order is that it was cleared away. Versions go on from the one that an order has.

insert into order_events
select
    order_id,
    -- a new order has no events to be looked for; while the shop is made there is no index to look by
    case when is_new then 0
        else coalesce((select max(version) from order_events as known where known.order_id = lives.order_id), 0) end
        + row_number() over (partition by order_id order by place),
    event_type,
    case event_type
        when 'order_placed' then
            jsonb_build_object('customer_id', customer_id, 'store_id', store_id, 'currency_code', 'USD')
        when 'order_cancelled' then jsonb_build_object('reason', pg_temp.pick(
            array['customer changed mind', 'payment refused', 'not in stock'], pg_temp.unit('cancel reason', order_id)
        ))
        when 'order_returned' then jsonb_build_object('reason', pg_temp.pick(
            array['damaged', 'not as described', 'not needed'], pg_temp.unit('return reason', order_id)
        ))
        else '{{}}'::jsonb
    end,
    occurred_at,
    greatest(occurred_at, registered_at)
from (
    select
        order_id, customer_id, store_id, true as is_new, ordered_at,
        registered_at, cancelled_at, purged_at, paid_at, shipped_at, delivered_at, returned_at
    from pg_temp.purchases
    where registered_at >= {since} and registered_at < {until}
    union all
    select
        orders.order_id, orders.customer_id, orders.store_id, false, orders.ordered_at,
        fate.registered_at, fate.cancelled_at, fate.purged_at, fate.paid_at, fate.shipped_at, fate.delivered_at,
        fate.returned_at
    from orders
    cross join lateral pg_temp.fate(orders.order_id, orders.ordered_at) as fate
    where
        orders.ordered_at < {since}
        and orders.ordered_at >= {since}::timestamptz - interval '130 days'
        and (orders.ordered_at >= {since}::timestamptz - interval '45 days' or orders.status_code = 'cancelled')
) as lives
cross join lateral (
    values
        (1, 'order_placed', ordered_at),
        (2, 'order_paid', paid_at),
        (3, 'order_shipped', shipped_at),
        (4, 'order_delivered', delivered_at),
        (5, 'order_returned', returned_at),
        (6, 'order_cancelled', cancelled_at),
        (7, 'order_purged', purged_at)
) as events (place, event_type, occurred_at)
where greatest(occurred_at, registered_at) >= {since} and occurred_at < {until} and occurred_at is not null
