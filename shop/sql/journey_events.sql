-- The orders of the grocer as events: each was placed, paid, shipped and delivered at one instant.

insert into order_events
select
    orders.order_id,
    events.version,
    events.event_type,
    case when events.version = 1
        then jsonb_build_object(
            'customer_id', orders.customer_id, 'store_id', orders.store_id, 'currency_code', orders.currency_code
        )
        else '{}'::jsonb end,
    events.occurred_at,
    events.occurred_at
from orders
cross join lateral (
    values
        (1, 'order_placed', orders.ordered_at),
        (2, 'order_paid', orders.paid_at),
        (3, 'order_shipped', orders.shipped_at),
        (4, 'order_delivered', orders.delivered_at)
) as events (version, event_type, occurred_at)
order by 1, 2;
